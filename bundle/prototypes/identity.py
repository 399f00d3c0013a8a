"""Keeping the name of a prototype while its place moves."""

from __future__ import annotations

import torch
from torch import Tensor

from .kmeans import Clusters
from .matching import best_assignment


def renamed_after(clusters: Clusters, before: Tensor, slide_index: Tensor) -> Clusters:
    """Permute each slide's clusters so that as many regions as possible keep the number they had.

    K-means numbers its clusters at random and the embedding space turns during training, so prototypes of two epochs
    are matched by the regions they share, not by their vectors.

    Args:
        clusters: the new clustering of S slides, N regions, K clusters.
        before: assignment of the same regions in the last clustering, shape (N,), in [-1, K).
        slide_index: slide of each region, shape (N,).
    """
    n_slides, size = clusters.valid.shape
    known = (before >= 0) & (clusters.assignment >= 0)
    cell = (slide_index * size + before) * size + clusters.assignment
    shared = torch.bincount(cell[known], minlength=n_slides * size * size).view(n_slides, size, size)
    source = best_assignment(shared.double())[1]
    number = torch.empty_like(source).scatter_(1, source, torch.arange(size, device=source.device).expand_as(source))
    renamed = number[slide_index, clusters.assignment.clamp(min=0)]
    return Clusters(
        clusters.centroids.gather(1, source[..., None].expand_as(clusters.centroids)),
        clusters.valid.gather(1, source),
        torch.where(clusters.assignment >= 0, renamed, -1),
        clusters.inertia,
    )
