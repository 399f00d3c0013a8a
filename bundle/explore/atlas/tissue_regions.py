"""Which regions make kinds of tissue, and which are edge and background and kept apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from ...prototypes import slide_prototypes
from ...storage import SlideEmbeddings
from ..search.answer import RegionPlace
from .record import ApartRegions, AtlasSlide

_STEPS = (0.5, 0.75)
_REGIONS_A_PROTOTYPE = 3  # fewer are pictures, no cluster; and a slide's prototypes must be of different kinds


def tissue_of(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Share of each region's patches that hold tissue, [R], from their mask [R, P, P]."""
    return mask.mean((1, 2), dtype=np.float64)


def regions_apart(mask: NDArray[np.bool_], min_tissue: float) -> NDArray[np.bool_]:
    """Whether a slide's regions are kept apart, bool [R]; never all of them.

    A region takes part if tissue fills at least ``min_tissue`` of its patches. Of a slide in which none is so full,
    as of a needle's core, those take part that hold at least this share of what the fullest one holds.

    Args:
        mask: the patch holds tissue, bool [R, P, P].
        min_tissue: the share, in [0, 1]; 0 keeps none apart.
    """
    tissue = tissue_of(mask)
    fullest = float(tissue.max(initial=0.0))
    return tissue < (min_tissue if fullest >= min_tissue else min_tissue * fullest)


def without_apart(slide: SlideEmbeddings, apart: NDArray[np.bool_], seed: int = 0) -> SlideEmbeddings:
    """The slide with prototypes of the other regions only, one for three regions, at most as many as it has.

    Where none is apart, or the slide has no prototypes, it is returned as it is.
    """
    if not apart.any() or not slide.n_prototypes:
        return slide
    others = np.flatnonzero(~apart)
    n_prototypes = max(1, min(slide.n_prototypes, len(others) // _REGIONS_A_PROTOTYPE))
    found, member = slide_prototypes(torch.from_numpy(slide.projection[others]), slide.slide_id, n_prototypes, seed)
    assignment = np.full(len(slide), -1, np.int64)
    assignment[others] = member.numpy()
    return replace(slide, prototypes=found.numpy(), assignment=assignment)


def fullness(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """2 for regions with tissue in three quarters of their patches, 1 in half of them, 0 in fewer, [R]."""
    return np.digitize(tissue_of(mask), _STEPS)


def apart_of(slides: Sequence[AtlasSlide], min_tissue: float, n_examples: int) -> ApartRegions:
    """What is kept apart of a cohort.

    Args:
        slides: at least one.
        min_tissue: the share of tissue that was asked for.
        n_examples: regions to show, from the fullest to the emptiest, of different slides where there are enough.
    """
    tissue = [tissue_of(slide.mask) for slide in slides]
    shares = np.concatenate([own[slide.apart] for own, slide in zip(tissue, slides, strict=True)])
    owner = np.repeat(np.arange(len(slides)), [int(slide.apart.sum()) for slide in slides])
    corners = np.concatenate([slide.coords[slide.apart] for slide in slides])
    order = np.argsort(-shares, kind="stable")
    shown = []
    for i in order[_spread(owner[order], n_examples)].tolist():
        slide = slides[owner[i]]
        x, y = corners[i].tolist()
        place = RegionPlace(slide.slide_id, x, y, slide.region_size, float("nan"))
        shown.append((place, float(shares[i])))
    in_them = sum(int(slide.mask[slide.apart].sum()) for slide in slides)
    everywhere = sum(int(slide.mask.sum()) for slide in slides)
    return ApartRegions(
        min_tissue,
        len(shares),
        in_them / max(everywhere, 1),
        [slides[i].slide_id for i in np.unique(owner).tolist()],
        shown,
        [s.slide_id for s, own in zip(slides, tissue, strict=True) if own.max(initial=0.0) < min_tissue],
    )


def _spread(owner: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """``n`` of the places at even steps, ascending, each the nearest one of an owner that was chosen least often."""
    places = np.arange(len(owner))
    times = np.zeros(int(owner.max(initial=-1)) + 1, np.int64)
    left = np.ones(len(owner), bool)
    for target in np.linspace(0, len(owner) - 1, min(n, len(owner))):
        best = np.lexsort((np.abs(places - target), times[owner], ~left))[0]
        left[best] = False
        times[owner[best]] += 1
    return np.flatnonzero(~left)
