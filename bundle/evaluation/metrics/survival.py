"""Metrics of predicted risks, of one sample of rows or of thousands of resamples at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
_CELLS = 4_000_000  # of the pair matrix that are held at a time


class SurvivalMetrics:
    """Harrell's concordance index, in [0, 1]: the share of comparable pairs that the risk puts into the right order.

    A pair is comparable where the one with the shorter time had the event; at equal times, where one of them had it.
    Equal risks count one half. NaN where no pair can be compared.

    Source: Harrell et al., Statistics in Medicine 1996, section 5.5.
    """

    names = ("c_index",)
    biased = ()

    def __call__(self, targets: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> dict[str, Floats]:
        """The metric in each sample, [S].

        Args:
            targets: time and event (0 or 1), [n, 2].
            scores: risks [n, 1] or [n]; higher means earlier.
            weights: how often each row stands in each sample, [S, n]; None: one sample, every row once.

        Raises:
            ValueError: shapes do not fit.
        """
        targets, risk = np.asarray(targets, np.float64), np.asarray(scores, np.float64)
        if targets.ndim != 2 or targets.shape[1] != 2 or risk.shape not in {(len(targets), 1), (len(targets),)}:
            raise ValueError(f"targets [n, 2] and risks [n, 1] are needed: got {targets.shape} and {risk.shape}.")
        weights = np.ones((1, len(targets))) if weights is None else np.asarray(weights, np.float64)
        return {"c_index": _concordance(targets[:, 0], targets[:, 1] > 0, risk.ravel(), weights)}

    def n_trials(self, targets: ArrayLike) -> dict[str, int]:
        """None: comparable pairs share rows, so that a perfect order has no bound that is exact and simple."""
        return {}


def _concordance(time: Floats, event: NDArray[np.bool_], risk: Floats, weights: Floats) -> Floats:
    """Weighted share of concordant pairs, [S]; a block of the n x n pairs at a time."""
    concordant, comparable = np.zeros(len(weights)), np.zeros(len(weights))
    if not np.isfinite(risk).all():
        return np.full(len(weights), np.nan)
    rows = np.flatnonzero(event)
    step = max(1, _CELLS // max(len(time), 1))
    for start in range(0, len(rows), step):
        first = rows[start : start + step]
        is_pair = (time[first, None] < time) | ((time[first, None] == time) & ~event)
        right = is_pair * ((risk[first, None] > risk) + 0.5 * (risk[first, None] == risk))
        concordant += (weights[:, first] * (weights @ right.T)).sum(1)
        comparable += (weights[:, first] * (weights @ is_pair.T)).sum(1)
    return np.divide(concordant, comparable, out=np.full(len(weights), np.nan), where=comparable > 0)
