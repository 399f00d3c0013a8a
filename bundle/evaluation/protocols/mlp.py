"""A small network on frozen features."""

from __future__ import annotations

import warnings
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ...core import as_number, as_whole
from .inputs import Vectors
from .standard import class_probabilities


class MLPProbe:
    """scikit-learn's network of one hidden layer on standardized features, for a fixed number of epochs of Adam.

    Stopping early, or choosing a setting, would need patients set aside, which small cohorts do not have.

    Args:
        n_hidden: units of the hidden layer, at least 1.
        n_epochs: passes over the training patients, at least 1.
        penalty: strength of the L2 penalty, at least 0.
        batch_size: patients in a step; all of them where there are fewer.
    """

    name: ClassVar[str] = "mlp"
    tasks: ClassVar[tuple[str, ...]] = ("classification", "ordinal")
    takes: ClassVar[tuple[str, ...]] = (Vectors.kind,)
    is_random: ClassVar[bool] = True

    def __init__(self, n_hidden: int = 64, n_epochs: int = 100, penalty: float = 0.01, batch_size: int = 32) -> None:
        self.n_hidden, self.n_epochs = as_whole(n_hidden, "n_hidden", 1), as_whole(n_epochs, "n_epochs", 1)
        self.penalty, self.batch_size = as_number(penalty, "penalty", 0), as_whole(batch_size, "batch_size", 1)

    def __call__(
        self, train: Vectors, targets: NDArray[np.int64], test: Vectors, n_classes: int, seed: int
    ) -> NDArray[np.float64]:
        """Probability of each class, [n_test, n_classes]; 0 for classes that are not learned from.

        Args:
            train: n_train patients.
            targets: class index of each, [n_train], at least two different ones.
            test: n_test patients.
            n_classes: C.
            seed: of the weights and the order of patients.
        """
        network = MLPClassifier(
            (self.n_hidden,),
            alpha=self.penalty,
            batch_size=min(self.batch_size, len(train)),
            max_iter=self.n_epochs,
            n_iter_no_change=self.n_epochs + 1,  # never stops before the last epoch
            random_state=seed,
        )
        model = make_pipeline(StandardScaler(), network)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the number of epochs is what was asked for
            model.fit(train.values.astype(np.float64), np.asarray(targets, np.int64))
        return class_probabilities(model, test.values.astype(np.float64), n_classes)
