"""Is one arm better than another on the same patients? Differences with 95 % intervals and p-values."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .intervals import Estimate, Figures, Floats, folds_estimate, resampled


def compare_folds(a_values: ArrayLike, b_values: ArrayLike, n_train: ArrayLike, n_test: ArrayLike) -> Estimate:
    """Mean of a - b over the same folds: the corrected resampled t-test.

    Folds in which either is NaN are left out. With folds that are all equal there is no interval; p is 1 where they
    are all 0, else NaN.

    Args:
        a_values: the figure in each fold, [k].
        b_values: likewise, of the same folds.
        n_train: rows learned from: one number, or one a fold.
        n_test: rows tested on, likewise.

    Source: Nadeau and Bengio, Machine Learning 52, 2003.
    """
    return folds_estimate(np.asarray(a_values, np.float64) - np.asarray(b_values, np.float64), n_train, n_test)


def compare_bootstrap(
    figures: Figures, targets: ArrayLike, scores_a: ArrayLike, scores_b: ArrayLike, n_samples: int = 2000, seed: int = 0
) -> dict[str, Estimate]:
    """Every figure's a - b on one test set, over resamples of its rows (patients) that both arms share.

    The p-value is that of the interval: it is 0.05 where the interval ends at 0.

    Args:
        figures: `ClassificationFigures` or `SurvivalFigures`.
        targets: [n] or [n, 2].
        scores_a: [n, C].
        scores_b: [n, C], of the same rows.
        n_samples: resamples.
        seed: of the resamples.

    Source: Efron, JASA 82, 1987 (BCa).
    """

    def difference(weights: Floats) -> dict[str, Floats]:
        of_b = figures(targets, scores_b, weights)
        return {name: value - of_b[name] for name, value in figures(targets, scores_a, weights).items()}

    return resampled(difference, len(np.asarray(targets)), n_samples, seed)
