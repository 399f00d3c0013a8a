"""Every slide's header, and the tissue of some: which slides are bad, and how many regions the others have."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from ...cohort import SlideRef, SlideRow, SlideTable
from ...core import Progress
from ...slides import ReadSettings, Slide
from ..checking.deep_look import find_regions
from ..checking.look import Look, look_at, side_by_side

__all__ = ["Look", "look_at_slides"]


def look_at_slides(
    slides: Sequence[SlideRef],
    table: SlideTable,
    how: ReadSettings,
    n_sampled: int | None = 20,
    seed: int = 0,
    num_workers: int = 4,
) -> list[Look]:
    """Open every slide; find the tissue of ``n_sampled`` of those that open, drawn at random.

    Args:
        slides: what there is.
        table: mpp and roi of slides.
        how: how they will be read.
        n_sampled: slides whose tissue is looked for; None: all.
        seed: of the draw.
        num_workers: slides that are looked at side by side.
    """
    rows = {ref.slide_id: table.row(ref.slide_id, ref.path) for ref in slides}

    def tissue(slide: Slide, look: Look, row: SlideRow) -> None:
        find_regions(slide, look, row, how)

    headers = (partial(look_at, ref, rows[ref.slide_id], how) for ref in slides)
    looks = {look.ref.slide_id: look for look in _shown(side_by_side(headers, num_workers), "headers", len(slides))}
    good = [ref for ref in slides if not looks[ref.slide_id].problem]
    n = len(good) if n_sampled is None else min(n_sampled, len(good))
    drawn = sorted(np.random.default_rng(seed).choice(len(good), n, replace=False)) if n else []
    deeper = (partial(look_at, good[i], rows[good[i].slide_id], how, tissue) for i in drawn)
    looks |= {look.ref.slide_id: look for look in _shown(side_by_side(deeper, num_workers), "tissue", n)}
    return [looks[ref.slide_id] for ref in slides]


def _shown(looks: Iterator[Look], what: str, total: int) -> Iterator[Look]:
    """A bar on a terminal, a line every so often elsewhere."""
    print(f"{what} of {total} slides ...", file=sys.stderr, flush=True)
    yield from Progress(looks, total=total, desc=what, unit="slide", leave=False)
