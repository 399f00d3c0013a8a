"""The prototypes of one slide by itself."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor
from torch.nn.functional import normalize

from .kmeans import batched_kmeans


def slide_prototypes(projection: Tensor, slide_id: str, n_prototypes: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Cluster a slide's regions; its random numbers are keyed by its id, so that other slides change nothing.

    Args:
        projection: unit rows [R, d], on the CPU.
        slide_id: the slide's id.
        n_prototypes: K wanted; fewer where the slide has fewer distinct regions, 0 for none.
        seed: of K-means.

    Returns:
        Prototypes, unit rows [K, d], and the prototype of each region [R], int64, -1 where K is 0.
    """
    key = int(hashlib.sha256(slide_id.encode()).hexdigest()[:15], 16)
    one_slide = torch.zeros(len(projection), dtype=torch.int64)
    wanted, keys = torch.tensor([n_prototypes]), torch.tensor([key])
    clusters = batched_kmeans(projection, one_slide, wanted, seed=seed, keys=keys)
    return normalize(clusters.centroids[0][clusters.valid[0]], dim=1), clusters.assignment
