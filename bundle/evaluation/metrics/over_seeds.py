"""Metrics of predictions that were made several times, with another seed each time."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .classification import ClassificationMetrics
from .survival import SurvivalMetrics


class OverSeeds:
    """The mean over seeds of each metric: what to expect of one training, not of an ensemble of several.

    Every sample of rows is that of all seeds, so that an interval over rows is one of the mean.

    Args:
        metrics: of one seed.
    """

    def __init__(self, metrics: ClassificationMetrics | SurvivalMetrics) -> None:
        self.metrics = metrics
        self.names, self.biased = metrics.names, metrics.biased

    def __call__(
        self, targets: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None
    ) -> dict[str, NDArray[np.float64]]:
        """Each metric in each sample, [S].

        Args:
            targets: as of ``metrics``.
            scores: of each seed, [seeds, n, C].
            weights: as of ``metrics``.
        """
        each = [self.metrics(targets, of_seed, weights) for of_seed in np.asarray(scores)]
        return {name: np.mean([found[name] for found in each], axis=0) for name in each[0]}

    def n_trials(self, targets: ArrayLike) -> dict[str, int]:
        """As of ``metrics``: a mean is perfect where every seed is."""
        return self.metrics.n_trials(targets)
