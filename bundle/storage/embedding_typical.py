"""What stands for a prototype in its slide: how much of the tissue it covers, and its most typical regions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .embedding_record import SlideEmbeddings


def tissue_shares(slide: SlideEmbeddings) -> NDArray[np.float64]:
    """Share of the slide's patches with tissue that lie in regions of each prototype, [K], in [0, 1].

    The shares sum to 1 where every region has a prototype.
    """
    n_patches = slide.mask.reshape(len(slide), -1).sum(1).astype(np.float64)
    member = slide.assignment >= 0
    totals = np.bincount(slide.assignment[member], n_patches[member], slide.n_prototypes)
    return totals / max(n_patches.sum(), 1.0)


def typical_regions(slide: SlideEmbeddings, n_regions: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The regions of each prototype that are most like it.

    Args:
        slide: a slide.
        n_regions: E, regions a prototype, at least 1.

    Returns:
        Numbers of regions [K, E], the most typical first, -1 where a prototype has no more; their cosine with the
        prototype [K, E], NaN there.
    """
    found = np.full((slide.n_prototypes, n_regions), -1, np.int64)
    cosine = np.full(found.shape, np.nan, np.float32)
    similarity = slide.similarity
    for prototype in range(slide.n_prototypes):
        members = np.flatnonzero(slide.assignment == prototype)
        order = members[np.argsort(-similarity[members, prototype], kind="stable")][:n_regions]
        found[prototype, : len(order)] = order
        cosine[prototype, : len(order)] = similarity[order, prototype]
    return found, cosine
