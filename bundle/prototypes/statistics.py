"""Numbers that tell whether prototypes are healthy."""

from __future__ import annotations

import torch
from torch import Tensor

from .kmeans import Clusters
from .neighbors import Neighbors


def clustering_stats(clusters: Clusters, slide_index: Tensor, before: Tensor | None) -> dict[str, float]:
    """Describe one clustering.

    Args:
        clusters: of S slides and N regions.
        slide_index: slide of each region, shape (N,).
        before: assignment of the same regions in the last clustering, shape (N,), or None.

    Returns:
        ``clustered_slides``: share of slides with prototypes; ``prototypes_per_slide``: their mean number there;
        ``dead_share``: share of prototypes without a region; ``usage_entropy``: entropy of a slide's assignment over
        the logarithm of its number of prototypes, mean over slides with two or more, 1 where all are used equally;
        ``agreement`` (if there was a clustering before): share of regions that kept their prototype.
    """
    n_slides, size = clusters.valid.shape
    assigned = clusters.assignment >= 0
    cell = slide_index * size + clusters.assignment
    usage = torch.bincount(cell[assigned], minlength=n_slides * size).view(n_slides, size).double()
    n_valid = clusters.valid.sum(1)
    share = usage / usage.sum(1, keepdim=True).clamp(min=1)
    entropy = -torch.xlogy(share, share).sum(1)[n_valid > 1] / n_valid[n_valid > 1].double().log()
    stats = {
        "clustered_slides": _mean(n_valid > 0),
        "prototypes_per_slide": _mean(n_valid[n_valid > 0]),
        "dead_share": _mean((usage == 0)[clusters.valid]),
        "usage_entropy": _mean(entropy),
    }
    if before is not None:
        known = assigned & (before >= 0)
        stats["agreement"] = _mean((before == clusters.assignment)[known])
    return stats


def neighbor_stats(neighbors: Neighbors, before: Neighbors | None) -> dict[str, float]:
    """Describe one matching of S slides.

    Returns:
        ``neighbor_similarity``: mean similarity of the nearest slides; ``neighbor_agreement`` (if there was a matching
        before): share of slides whose nearest slide stayed. Empty without neighbors (R = 0).
    """
    if neighbors.index.shape[1] == 0:
        return {}
    nearest, has_neighbor = neighbors.index[:, 0], neighbors.index[:, 0] >= 0
    stats = {"neighbor_similarity": _mean(neighbors.similarity[has_neighbor, 0])}
    if before is not None and before.index.shape == neighbors.index.shape:
        known = has_neighbor & (before.index[:, 0] >= 0)
        stats["neighbor_agreement"] = _mean((before.index[:, 0] == nearest)[known])
    return stats


def _mean(values: Tensor) -> float:
    return float(values.double().mean()) if len(values) else 0.0
