"""Logistic regression on frozen features."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline

from ...core import SettingError
from ...heads import Tensors
from .inputs import Vectors
from .standard import ClassProbe, Standardizer, class_weights

_N_INNER_FOLDS = 5


class LinearProbe(ClassProbe):
    """Logistic regression with an L2 penalty on standardized features.

    The penalty is the one with the least log loss in an inner cross-validation over the training patients, the
    strongest where a class has one of them; test patients take no part in it, nor in the means and deviations. Fitted
    in the space that the training rows span, which changes nothing (the penalty does not see rotations) and is quicker
    where patients are few.

    Args:
        penalties: values of C (scikit-learn's inverse strength) to choose from, above 0.

    Raises:
        SettingError: no value, or one that is not above 0.
    """

    name: ClassVar[str] = "linear"

    def __init__(self, penalties: tuple[float, ...] = (0.001, 0.01, 0.1, 1.0)) -> None:
        self.penalties = sorted(float(penalty) for penalty in penalties)
        if not self.penalties or self.penalties[0] <= 0:
            raise SettingError(f"the linear probe's penalties are {penalties!r}; give numbers above 0.")

    def learn(self, train: Vectors, targets: NDArray[np.int64], n_classes: int, seed: int) -> Tensors:
        """What a head keeps of a model fitted on these patients; arguments as for a call."""
        model = self._fitted(train.values, np.asarray(targets, np.int64), seed)
        standard, regression = (step for _, step in getattr(model, "best_estimator_", model).steps)
        return class_weights(standard, regression.coef_, regression.intercept_, regression.classes_, n_classes)

    def _fitted(self, values: NDArray[np.float32], targets: NDArray[np.int64], seed: int) -> Any:
        model = make_pipeline(Standardizer(), LogisticRegression(C=self.penalties[0], max_iter=2000))
        n_folds = min(_N_INNER_FOLDS, int(np.unique(targets, return_counts=True)[1].min()))
        if n_folds > 1:
            folds = StratifiedKFold(n_folds, shuffle=True, random_state=seed)
            grid = {"logisticregression__C": self.penalties}  # of equal ones the first, the strongest, is taken
            model = GridSearchCV(model, grid, scoring="neg_log_loss", cv=folds)
        return model.fit(values, targets)
