"""What is wanted of every slide's map."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...storage import SlideEmbeddings
from .layers import LAYERS

_SAME = 0.02
_log = logging.getLogger(__name__)
Thumbnail = tuple[NDArray[np.uint8], float]


@dataclass(frozen=True)
class MapRequest:
    """What is wanted, and what of the slide itself is at hand.

    Attributes:
        layers: some of ``LAYERS``.
        prototype: the prototype that similarity is to, from 1; None: to each.
        thumbnail: slide id -> RGB uint8 [h, w, 3] and its um/px, or None where the slide is not at hand;
            without it none is.
    """

    layers: Sequence[str] = LAYERS
    prototype: int | None = None
    thumbnail: Callable[[str], Thumbnail | None] | None = None

    def thumbnail_of(self, slide: SlideEmbeddings) -> Thumbnail | None:
        """The slide's thumbnail; None where there is none, or where it is of another size than the slide had.

        Maps over the wrong picture would look right, so a difference is said and the picture left out.
        """
        found = None if self.thumbnail is None else self.thumbnail(slide.slide_id)
        if found is None:
            return None
        height, width = (round(n * found[1]) for n in found[0].shape[:2])
        wanted = [round(size * slide.level0_mpp) for size in slide.level0_size]
        spare = 2 * found[1] + _SAME * max(wanted)
        if max(abs(width - wanted[0]), abs(height - wanted[1])) <= spare:
            return found
        _log.warning(
            "slide %s is %d x %d um in slides_dir, %d x %d um in its embeddings: its maps lie on plain ground. Is it "
            "the same file, and does slide_table give its mpp?",
            slide.slide_id, width, height, *wanted,
        )  # fmt: skip
        return None
