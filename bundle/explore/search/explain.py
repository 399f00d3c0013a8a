"""Why two slides are similar: which prototypes match, and which regions stand for them."""

from __future__ import annotations

import numpy as np
import torch

from ...prototypes import matched_similarity
from .answer import PrototypePair, RegionPlace
from .part import SlidePart


def explain(query_id: str, query: SlidePart, neighbor_id: str, neighbor: SlidePart) -> list[PrototypePair]:
    """The matched prototypes of two slides, those that cover most tissue of both first.

    Args:
        query_id, neighbor_id: their slide ids.
        query, neighbor: their arrays, parts of one slide each.
    """
    if not len(query.prototypes) or not len(neighbor.prototypes):
        return []
    a, b = (torch.from_numpy(part.prototypes)[None] for part in (query, neighbor))
    valid = [torch.ones(each.shape[:2], dtype=torch.bool) for each in (a, b)]
    partners = matched_similarity(a, valid[0], b, valid[1])[1][0].tolist()
    cosines = query.prototypes @ neighbor.prototypes.T
    pairs = [
        PrototypePair(
            i,
            j,
            float(cosines[i, j]),
            float(query.share[i]),
            float(neighbor.share[j]),
            example_places(query_id, query, i),
            example_places(neighbor_id, neighbor, j),
        )
        for i, j in enumerate(partners)
        if j >= 0
    ]
    return sorted(pairs, key=lambda pair: -(pair.query_share + pair.neighbor_share))


def example_places(slide_id: str, slide: SlidePart, prototype: int) -> list[RegionPlace]:
    """The most typical regions of a prototype of a part of one slide."""
    size = float(slide.region_size[0])
    return [
        RegionPlace(slide_id, int(x), int(y), size, float(cosine))
        for (x, y), cosine in zip(slide.example_coords[prototype], slide.example_cosine[prototype], strict=True)
        if np.isfinite(cosine)
    ]
