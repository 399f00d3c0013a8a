"""Prototypes of a whole cohort: what the regions of the training patients look like, without any label."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.metrics.pairwise import euclidean_distances

from ...core import as_whole
from ...prototypes import batched_kmeans
from ..protocols.inputs import Bags, Rows

Floats = NDArray[np.float64]
_N_ITERATIONS = 100  # at most; it stops where nothing changes


class Cohort(NamedTuple):
    """C prototypes ``centers`` [C, d]; ``variance`` [d] of regions around their nearest prototype, float64."""

    centers: Floats
    variance: Floats


class CohortPrototypes:
    """K-means over the regions of all training patients, each region counting alike.

    What was found of the same regions is found once, whoever asks.

    Args:
        n_prototypes: C; fewer where there are fewer distinct regions.
        seed: of K-means.
        device: where to cluster.
    """

    def __init__(self, n_prototypes: int = 16, seed: int = 0, device: torch.device | str = "cpu") -> None:
        self.n_prototypes = as_whole(n_prototypes, "n_cohort_prototypes", 1)
        self.seed, self.device = as_whole(seed, "seed"), torch.device(device)
        self._known: dict[str, Cohort] = {}

    def fit(self, train: Bags) -> Cohort:
        """Prototypes of the training patients' regions; whose a region is makes no difference."""
        values = np.ascontiguousarray(train.values)
        key = hashlib.sha256(f"{values.shape}".encode() + values.tobytes()).hexdigest()
        if key not in self._known:
            self._known[key] = self._fit(values)
        return self._known[key]

    def _fit(self, values: NDArray[np.float32]) -> Cohort:
        points = torch.from_numpy(values).to(self.device).double()
        owner = torch.zeros(len(points), dtype=torch.int64, device=self.device)
        wanted = torch.full((1,), self.n_prototypes, device=self.device)
        found = batched_kmeans(points, owner, wanted, n_iterations=_N_ITERATIONS, seed=self.seed)
        centers = found.centroids[0][found.valid[0]]
        variance = (points - centers[found.assignment]).square().mean(0)
        return Cohort(centers.cpu().numpy(), variance.cpu().numpy())


def squared_distances(values: NDArray[np.float32], centers: Floats) -> Floats:
    """Of each region [M, d] from each prototype [C, d], [M, C]."""
    return euclidean_distances(values.astype(np.float64), centers, squared=True)


def sums_by_patient(weights: Floats, values: Floats, owner: Rows, n_patients: int) -> Floats:
    """Weighted sums of the regions of each patient for each prototype.

    Args:
        weights: of each region for each prototype, [M, C].
        values: of the regions, [M, d].
        owner: patient of each region, [M].
        n_patients: n.

    Returns:
        [n, C, d].
    """
    n_regions, n_prototypes = weights.shape
    rows = (owner[:, None] * n_prototypes + np.arange(n_prototypes)).ravel()
    columns = np.repeat(np.arange(n_regions), n_prototypes)
    # sparse: one product for all patients, without the M x C x d numbers in between
    summing = csr_matrix((weights.ravel(), (rows, columns)), shape=(n_patients * n_prototypes, n_regions))
    return np.asarray(summing @ values).reshape(n_patients, n_prototypes, -1)
