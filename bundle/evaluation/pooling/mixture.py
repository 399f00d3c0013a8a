"""A patient's regions as a mixture of Gaussians that begins at the cohort's prototypes."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from scipy.special import softmax

from ...core import as_number, as_whole
from ..protocols.inputs import Bags, Rows, Vectors
from .cohort_prototypes import Cohort, CohortPrototypes, Floats, sums_by_patient

_FLOOR = 1e-6  # of variances, as a share of the mean one
_BLOCK_ELEMENTS = 1 << 21
_LEAST = 1e-30  # of variances, where all regions are alike
_NOTHING = 1e-12  # regions


class Mixture:
    """A patient is the shares, means and diagonal variances of C Gaussians, C * (1 + 2 d) numbers [1].

    Expectation-maximization over the patient's regions starts for everybody at the same place: equal shares, the cohort
    prototypes as means, the variance of the training regions around their prototypes. So Gaussian c means the same in
    all patients. Each Gaussian holds ``prior_regions`` pseudo-regions of that start (the maximum a posteriori), without
    which a Gaussian of one region has no variance; with 0 it is plain expectation-maximization, and a Gaussian that has
    no region stays where it started.

    Args:
        cohort: finds the prototypes.
        n_steps: of expectation-maximization, at least 1.
        prior_regions: weight of the start, in regions, at least 0.

    References:
        [1] Song et al., "Morphological prototyping for unsupervised slide representation learning in computational
            pathology" (PANTHER), CVPR 2024.
    """

    name: ClassVar[str] = "mixture"

    def __init__(self, cohort: CohortPrototypes, n_steps: int = 1, prior_regions: float = 1.0) -> None:
        self.cohort, self.n_steps = cohort, as_whole(n_steps, "n_steps", 1)
        self.prior_regions = as_number(prior_regions, "prior_regions", 0)

    @property
    def settings(self) -> tuple[Any, ...]:
        """All that the vectors depend on, but for the regions."""
        return (self.name, self.cohort.n_prototypes, self.cohort.seed, self.n_steps, self.prior_regions)

    def fit(self, train: Bags) -> Mixture:
        """Find where the Gaussians of every patient start."""
        centers, variance = self.cohort.fit(train)
        self.floor = max(_FLOOR * float(variance.mean()), _LEAST)
        self.start = Cohort(centers, variance + self.floor)
        return self

    def transform(self, bags: Bags) -> Vectors:
        """Shares, means and variances of n patients, [n, C (1 + 2 d)]: all shares, then all means, then all variances.

        The means of Gaussian 0 come before those of Gaussian 1.
        """
        shares, means, variances = self.mixtures(bags)
        parts = [values.reshape(len(bags), -1) for values in (shares, means, variances)]
        return Vectors(np.concatenate(parts, axis=1).astype(np.float32))

    def mixtures(self, bags: Bags) -> tuple[Floats, Floats, Floats]:
        """Shares [n, C], means and variances [n, C, d] after the last step."""
        values, owner, n = bags.values.astype(np.float64), bags.owner, len(bags)
        shape = (n, *self.start.centers.shape)
        shares = np.full(shape[:2], 1 / shape[1])
        means, variances = np.broadcast_to(self.start.centers, shape), np.broadcast_to(self.start.variance, shape)
        for _ in range(self.n_steps):
            belongs = _responsibilities(values, owner, shares, means, variances)
            shares, means, variances = self._maximized(belongs, values, owner, n)
        return shares, means, variances

    def _maximized(self, belongs: Floats, values: Floats, owner: Rows, n: int) -> tuple[Floats, Floats, Floats]:
        """The best shares, means and variances for how much each region belongs to each Gaussian, [M, C]."""
        (centers, variance), prior = self.start, self.prior_regions
        counts = sums_by_patient(belongs, np.ones((len(values), 1)), owner, n)
        weight = counts + prior
        is_left = weight > _NOTHING
        safe = np.where(is_left, weight, 1.0)
        first = (sums_by_patient(belongs, values, owner, n) + prior * centers) / safe
        second = sums_by_patient(belongs, np.square(values), owner, n)
        second = (second + prior * (variance + np.square(centers))) / safe
        means = np.where(is_left, first, centers)
        variances = np.where(is_left, np.maximum(second - np.square(first), 0.0) + self.floor, variance)
        return (weight / weight.sum(1, keepdims=True))[..., 0], means, variances


def _responsibilities(values: Floats, owner: Rows, shares: Floats, means: Floats, variances: Floats) -> Floats:
    """How much each region belongs to each Gaussian of its patient, [M, C]; rows sum to 1."""
    with np.errstate(divide="ignore"):
        constant = np.log(shares) - 0.5 * np.log(variances).sum(2)
    found = np.empty((len(values), shares.shape[1]))
    block = max(1, _BLOCK_ELEMENTS // means[0].size)
    for start in range(0, len(values), block):
        part = slice(start, start + block)
        who = owner[part]
        distance = np.square(values[part, None] - means[who])
        distance /= variances[who]
        found[part] = softmax(constant[who] - 0.5 * distance.sum(2), axis=1)
    return found
