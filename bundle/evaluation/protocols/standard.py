"""What probes share: standardized features in the space that the training rows span, and scores of all classes."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin

from ...heads import Tensors
from .inputs import Vectors

_SAME = 1e-6  # a direction whose spread is less than this share of the largest is rounding


class Standardizer(TransformerMixin, BaseEstimator):
    """Learn means, deviations and principal axes from training rows; transform rows to their coordinates.

    Without ``n_components`` distances between training rows stay as they are, and so does everything with an L2
    penalty.

    Args:
        n_components: axes of the largest spread to keep; None: all that the rows span.
    """

    def __init__(self, n_components: int | None = None) -> None:
        self.n_components = n_components

    def fit(self, train: NDArray[np.float32], targets: object = None) -> Standardizer:
        """Learn from rows [n, d], n at least 1; there is nothing to learn from targets."""
        values = np.asarray(train, np.float64)
        self.mean = values.mean(0)
        spread = values.std(0)
        # a feature that is the same everywhere tells nothing; dividing by its rounding noise would blow that up
        self.scale = np.where(spread > _SAME * max(float(spread.max(initial=0)), 1e-30), spread, np.inf)
        _, singular, axes = np.linalg.svd((values - self.mean) / self.scale, full_matrices=False)
        n_kept = max(1, int((singular > _SAME * singular.max(initial=0)).sum()))
        self.axes = axes[: n_kept if self.n_components is None else min(n_kept, self.n_components)]
        return self

    def transform(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """Coordinates of rows [m, d] on the axes, [m, p]."""
        return ((np.asarray(values, np.float64) - self.mean) / self.scale) @ self.axes.T


def class_weights(
    standard: Standardizer,
    coef: NDArray[np.float64],
    bias: NDArray[np.float64],
    seen: NDArray[np.int64],
    n_classes: int,
) -> Tensors:
    """A logistic regression on standardized features as :class:`~bundle.heads.RowScorer` keeps it.

    Args:
        standard: fitted.
        coef, bias: of scikit-learn's model, [1 or n_seen, p] and [1 or n_seen]: of two classes it has the second's.
        seen: class indices that it knows.
        n_classes: C; the others get the bias -inf, which is a probability of 0.
    """
    if len(seen) == 2:
        coef, bias = np.vstack([np.zeros_like(coef), coef]), np.append(0.0, bias)
    weight, all_bias = np.zeros((n_classes, len(standard.mean))), np.full(n_classes, -np.inf)
    weight[seen], all_bias[seen] = coef @ standard.axes / standard.scale, bias
    return {"mean": standard.mean, "weight": weight, "bias": all_bias}


class ClassProbe:
    """A classifier of scikit-learn on one vector a patient; whoever extends it fits one."""

    tasks: ClassVar[tuple[str, ...]] = ("classification", "ordinal")
    takes: ClassVar[tuple[str, ...]] = (Vectors.kind,)

    def __call__(
        self, train: Vectors, targets: NDArray[np.int64], test: Vectors, n_classes: int, seed: int
    ) -> NDArray[np.float64]:
        """Probability of each class, see :class:`SlideProtocol`; 0 for classes that are not learned from."""
        model = self._fitted(train.values, np.asarray(targets, np.int64), seed)
        scores = np.zeros((len(test), n_classes))
        scores[:, model.classes_] = model.predict_proba(test.values)
        return scores

    def _fitted(self, values: NDArray[np.float32], targets: NDArray[np.int64], seed: int) -> Any:
        raise NotImplementedError
