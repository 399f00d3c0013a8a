"""Pictures by slide id: of whole slides, and of single regions."""

from __future__ import annotations

import logging
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..cohort import SlideRef, SlideTable
from ..core import SlideError, as_whole
from .finding import find_slides
from .opening import open_slide
from .slide import Slide

_OPEN_SLIDES = 8
_log = logging.getLogger(__name__)


class _SlidesAtHand:
    """Slides of a folder by id. One that cannot be opened or decoded is named in the log, once.

    Args:
        slides_dir: folder of slides; None: no slide is at hand.
        table: mpp of slides that do not say theirs.
    """

    missing: str  # what there is none of, where a slide does not open

    def __init__(self, slides_dir: str | Path | None, table: SlideTable | None) -> None:
        self.table = SlideTable({}) if table is None else table
        found = [] if slides_dir is None else find_slides(slides_dir)
        self._refs: dict[str, SlideRef] = {ref.slide_id: ref for ref in found}
        self._named: set[str] = set()

    def __bool__(self) -> bool:
        """Whether any slide is at hand."""
        return bool(self._refs)

    def _opened(self, slide_id: str, default_mpp: float | None = None) -> Slide | None:
        ref = self._refs.get(slide_id)
        if ref is None:
            return None
        try:
            mpp = self.table.row(slide_id, ref.path).mpp
            return open_slide(ref.path, mpp=mpp, default_mpp=default_mpp, slide_id=slide_id, section=ref.section)
        except SlideError as error:
            self._name(slide_id, error)
            return None

    def _name(self, slide_id: str, error: SlideError) -> None:
        if slide_id not in self._named:
            self._named.add(slide_id)
            _log.warning("no %s: %s", self.missing, error)


class Thumbnails(_SlidesAtHand):
    """Call with a slide id: its thumbnail and um/px, or None where the slide is not at hand.

    Args:
        slides_dir, table: see :class:`RegionPictures`.
        mpp: um/px wanted.
        max_px: longest side.
    """

    missing = "thumbnail"

    def __init__(
        self, slides_dir: str | Path | None, table: SlideTable | None = None, mpp: float = 16.0, max_px: int = 1024
    ) -> None:
        super().__init__(slides_dir, table)
        self.mpp, self.max_px = mpp, max_px

    def __call__(self, slide_id: str) -> tuple[NDArray[np.uint8], float] | None:
        """RGB uint8 [h, w, 3] and um/px, or None."""
        slide = self._opened(slide_id)
        if slide is None:
            return None
        try:
            with slide:
                return slide.thumbnail(self.mpp, self.max_px)
        except SlideError as error:
            self._name(slide_id, error)
            return None


class RegionPictures(_SlidesAtHand):
    """Call with a slide id and a square: its picture, or None where the slide is not at hand.

    Squares are given in level-0 px, so that a slide's resolution need not be known. A slide that cannot be opened or
    decoded is named in the log, once.

    Args:
        slides_dir: folder of slides; None: no slide is at hand.
        table: mpp of slides that do not say theirs.
        px: side of a picture.
    """

    missing = "pictures of some regions"

    def __init__(self, slides_dir: str | Path | None, table: SlideTable | None = None, px: int = 256) -> None:
        super().__init__(slides_dir, table)
        self.px = as_whole(px, "px", 1)
        self._slide = lru_cache(maxsize=_OPEN_SLIDES)(partial(self._opened, default_mpp=1.0))

    def __call__(self, slide_id: str, x: float, y: float, size: float) -> NDArray[np.uint8] | None:
        """RGB uint8 [px, px, 3], white outside the slide; None where there is no such slide or it does not decode.

        Args:
            slide_id: whose region.
            x, y: its top-left corner, level-0 px; may lie outside the slide.
            size: its side, level-0 px.
        """
        slide = self._slide(slide_id)
        if slide is None:
            return None
        try:
            return slide.read(x, y, self.px, self.px, size * slide.mpp / self.px, mpp_tolerance=0.0)[0]
        except SlideError as error:
            self._name(slide_id, error)
            return None
