"""Thumbnails by slide id, for pictures."""

import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..cohort import SlideRef, SlideTable, find_slides
from ..core import SlideError
from .opening import open_slide

_log = logging.getLogger(__name__)


class Thumbnails:
    """Call with a slide id: its thumbnail and um/px, or None where the slide is not at hand.

    A slide that cannot be opened or decoded is named in the log, once.

    Args:
        slides_dir: folder of slides; None: no slide is at hand.
        table: mpp of slides that do not say theirs.
        mpp: um/px wanted.
        max_px: longest side.
    """

    def __init__(
        self, slides_dir: str | Path | None, table: SlideTable | None = None, mpp: float = 16.0, max_px: int = 1024
    ) -> None:
        self.table = SlideTable({}) if table is None else table
        self.mpp, self.max_px = mpp, max_px
        found = [] if slides_dir is None else find_slides(slides_dir)
        self._refs: dict[str, SlideRef] = {ref.slide_id: ref for ref in found}
        self._named: set[str] = set()

    def __call__(self, slide_id: str) -> tuple[NDArray[np.uint8], float] | None:
        """RGB uint8 [h, w, 3] and um/px, or None."""
        ref = self._refs.get(slide_id)
        if ref is None:
            return None
        try:
            with open_slide(ref.path, mpp=self.table.row(slide_id, ref.path).mpp, slide_id=slide_id) as slide:
                return slide.thumbnail(self.mpp, self.max_px)
        except SlideError as error:
            if slide_id not in self._named:
                self._named.add(slide_id)
                _log.warning("no thumbnail: %s", error)
            return None
