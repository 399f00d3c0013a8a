"""K-means by faiss, one slide after the other."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core import BundleError
from .kmeans import Clusters


def faiss_kmeans(
    points: Tensor,
    slide_index: Tensor,
    n_clusters: Tensor,
    *,
    n_restarts: int = 5,
    n_iterations: int = 10,
    seed: int = 0,
) -> Clusters:
    """Cluster as :func:`bundle.prototypes.batched_kmeans` does, same arguments, with faiss and its random numbers.

    Raises:
        BundleError: faiss is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise BundleError(
            'the clustering backend "faiss" needs the package faiss, which is not installed: install faiss-cpu, or '
            'choose the backend "batched".'
        ) from error
    n_slides, dim = len(n_clusters), points.shape[1]
    size = max(1, int(n_clusters.max())) if n_slides else 1
    centroids = torch.zeros(n_slides, size, dim)
    valid = torch.zeros(n_slides, size, dtype=torch.bool)
    assignment, inertia = torch.full((len(points),), -1), torch.zeros(n_slides)
    parts = points.float().cpu().split(torch.bincount(slide_index, minlength=n_slides).tolist())
    start = 0
    for slide, (part, wanted) in enumerate(zip(parts, n_clusters.tolist(), strict=True)):
        n_found = min(wanted, len(part.unique(dim=0))) if wanted else 0
        if n_found:
            engine = faiss.Kmeans(
                dim, n_found, niter=n_iterations, nredo=n_restarts, seed=seed, min_points_per_centroid=1
            )
            rows = part.contiguous().numpy()
            engine.train(rows)
            distance, nearest = engine.index.search(rows, 1)
            centroids[slide, :n_found] = torch.from_numpy(engine.centroids)
            valid[slide, :n_found] = True
            assignment[start : start + len(part)] = torch.from_numpy(nearest[:, 0])
            inertia[slide] = float(distance.sum())
        start += len(part)
    device = points.device
    return Clusters(centroids.to(device), valid.to(device), assignment.to(device), inertia.to(device))
