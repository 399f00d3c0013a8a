"""A slide's scale and size, put together from what its features, its slide and the slide table say."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...cohort import SlideRef, SlideTable
from ...core import SlideError
from ...slides import MPP_FROM_DEFAULT, MPP_FROM_TABLE, open_slide
from .layouts.layout import FeatureFile, Said

_MPP_FROM_FEATURES = "features"
_LEAST_MPP, _MOST_MPP = 0.01, 20.0  # um/px of level 0
_BLOCK_PX = 1024  # STAMP cuts blocks of tiles of at most this side, the last ones beyond the border


class Scale(NamedTuple):
    """``level0_mpp`` in um/px and who says so; ``size`` of the slide in level-0 px, None where nobody says it."""

    level0_mpp: float
    mpp_source: str
    size: tuple[int, int] | None


class ScaleFinder:
    """Where level 0's um/px comes from: the slide table, the file of features, the slide itself, or one for all.

    Args:
        table: rows with ``mpp``.
        slides: the slides by id, if they are there: only their headers are read.
        default_mpp: um/px where nobody says any.
    """

    def __init__(self, table: SlideTable, slides: dict[str, SlideRef], default_mpp: float | None) -> None:
        self.table, self.slides, self.default_mpp = table, slides, default_mpp

    def find(self, file: FeatureFile, said: Said) -> Scale:
        """Scale and size of a slide.

        Raises:
            SlideError: nobody says um/px.
        """
        row, ref = self.table.row(file.slide_id), self.slides.get(file.slide_id)
        mpp, source, size = row.mpp, MPP_FROM_TABLE, said.size
        if mpp is None and said.level0_mpp is not None:
            mpp, source = said.level0_mpp, _MPP_FROM_FEATURES
        if ref is not None and (mpp is None or size is None):
            slide = open_slide(
                ref.path, mpp=mpp, default_mpp=self.default_mpp, slide_id=file.slide_id, section=ref.section
            )
            size, is_square = (slide.width, slide.height), slide.aspect == (1.0, 1.0)
            if mpp is None:
                mpp, source = slide.mpp, slide.mpp_source
            slide.close()
            if not is_square:
                raise SlideError(
                    f"slide {file.slide_id} has oblong pixels, and patches that are squares of px are none of the "
                    "slide: make its tokens with configs/tokenize.yaml, or give one um/px for both axes in the column "
                    "mpp of the slide table."
                )
        if mpp is None and self.default_mpp is not None:
            mpp, source = self.default_mpp, MPP_FROM_DEFAULT
        if mpp is None:
            raise SlideError(
                f"slide {file.slide_id}: {file.path} does not say level 0's um/px. Give the slides (--slides_dir: only "
                "their headers are read), a column mpp in the slide table, or --default_mpp."
            )
        if not _LEAST_MPP <= mpp <= _MOST_MPP:
            raise SlideError(
                f"slide {file.slide_id}: level 0 has {mpp:g} um/px by {file.path} or the slide; no scanner has: it "
                "may be in nm or mm. Give a column mpp in the slide table."
            )
        return Scale(mpp, source, size)


def in_pixels(said: Said, level0_mpp: float) -> Said:
    """What is said in um, in level-0 px."""
    if not said.is_um:
        return said
    lengths = (said.patch_level0, said.pitch_level0)
    patch, pitch = (None if length is None else length / level0_mpp for length in lengths)
    return said._replace(patch_level0=patch, pitch_level0=pitch)


def inside(xy: NDArray[np.float64], said: Said, size: tuple[int, int] | None, name: str) -> NDArray[np.bool_]:
    """Which patches begin on the slide, [N]; those a little beyond its far border hold no tissue (STAMP cuts some).

    Args:
        xy: corners, level-0 px.
        said: in level-0 px.
        size: of the slide, level-0 px, if it is known.
        name: of the slide, for messages.

    Raises:
        SlideError: some begin far beyond the slide; how many, and where.
    """
    extent = np.array([np.inf, np.inf] if size is None else size)
    margin = max(_BLOCK_PX, said.patch_level0 or 0.0) if said.is_um else 0.0
    n_bad = int(((xy < 0) | (xy >= extent + margin)).any(1).sum())
    if n_bad:
        low, high = xy.min(0), xy.max(0)
        border = "its corner" if size is None else f"its {size[0]} x {size[1]} px"
        raise SlideError(
            f"slide {name}: {n_bad} of {len(xy)} patches begin beyond {border}: coordinates reach from {low[0]:.0f}, "
            f"{low[1]:.0f} to {high[0]:.0f}, {high[1]:.0f}. They are of another slide or level, or not in level-0 px; "
            "make coordinates and features anew."
        )
    is_inside = np.asarray((xy < extent).all(1))
    if not is_inside.any():
        raise SlideError(f"slide {name}: all of its {len(xy)} patches begin beyond its {size} px: it is another slide.")
    return is_inside
