"""Every slide's header, and the tissue of some: which slides are bad, and how many regions the others have."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tqdm.auto import tqdm

from ...cohort import SlideRef, SlideTable
from ...core import BundleError
from ...slides import ReadSettings, SlideRegions

_TOLERANCE = 1.02  # of the resolution, as in reading


@dataclass
class Look:
    """What is known of a slide without reading its tissue patches.

    Attributes:
        ref: which slide.
        bytes: of its file.
        mpp: um/px of level 0; nan where unknown.
        area_mm2: of the whole slide, glass included.
        reader: the library that opened it.
        regions, patches: by its tissue; None where it was not looked for.
        problem: why it will fail; empty for a good slide.
        remark: what is odd about it, although it will not fail.
    """

    ref: SlideRef
    bytes: int = 0
    mpp: float = math.nan
    area_mm2: float = 0.0
    reader: str = ""
    regions: int | None = None
    patches: int | None = None
    problem: str = ""
    remark: str = ""


def look_at_slides(
    slides: Sequence[SlideRef], table: SlideTable, how: ReadSettings, n_sampled: int | None = 20, seed: int = 0
) -> list[Look]:
    """Open every slide; find the tissue of ``n_sampled`` of those that open, drawn at random.

    Args:
        slides: what there is.
        table: mpp and roi of slides.
        how: how they will be read.
        n_sampled: slides whose tissue is looked for; None: all.
        seed: of the draw.
    """
    looks = [_open(ref, table, how) for ref in tqdm(slides, desc="headers", unit="slide", leave=False, disable=None)]
    good = [look for look in looks if not look.problem]
    n = len(good) if n_sampled is None else min(n_sampled, len(good))
    drawn = sorted(np.random.default_rng(seed).choice(len(good), n, replace=False)) if n else []
    for place in tqdm(drawn, desc="tissue", unit="slide", leave=False, disable=None):
        _find_tissue(good[place], table, how)
    return looks


def _open(ref: SlideRef, table: SlideTable, how: ReadSettings) -> Look:
    look = Look(ref)
    try:
        look.bytes = ref.path.stat().st_size
        with how.open(ref.path, table.row(ref.slide_id, ref.path).mpp, ref.slide_id, ref.section) as slide:
            look.mpp, look.reader = slide.mpp, slide.reader
            look.area_mm2 = slide.width * slide.height * (slide.mpp / 1000) ** 2
            how.check_enlarging(slide)
            if slide.mpp > how.mpp * _TOLERANCE:
                look.remark = f"its finest level has {slide.mpp:g} um/px: it will be enlarged to {how.mpp:g}"
    except (BundleError, OSError) as error:
        look.problem = str(error)
    return look


def _find_tissue(look: Look, table: SlideTable, how: ReadSettings) -> None:
    row = table.row(look.ref.slide_id, look.ref.path)
    try:
        regions = SlideRegions(how.open(look.ref.path, row.mpp, look.ref.slide_id, look.ref.section), how, row.roi)
        regions.close()
        look.regions, look.patches = len(regions), int(regions.grid.mask.sum())
    except BundleError as error:
        look.problem = str(error)
