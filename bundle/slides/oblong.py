"""Slides whose px are no squares: read as if they were, each axis resampled to the finer one's um/px."""

import logging
import math

import numpy as np
from numpy.typing import NDArray

from ..core import SlideError
from .backend import Backend
from .resample import resampled

_SQUARE, _MOST = 1.01, 1.10
_MARGIN_PX = 2
_log = logging.getLogger(__name__)


def squared(backend: Backend, x: float, y: float, slide_id: str) -> tuple[Backend, float]:
    """A slide as one with square px, and its um/px.

    Axes that differ by 1 % or less are taken for equal, at their mean.

    Args:
        backend: the file.
        x, y: um/px of its finest level.
        slide_id: for messages.

    Raises:
        SlideError: they differ by more than 10 %, as no scanner's do.
    """
    ratio = max(x, y) / min(x, y)
    if ratio <= _SQUARE:
        return backend, (x + y) / 2
    said = f"slide {slide_id} has oblong pixels, {x:g} x {y:g} um"
    if ratio > _MOST:
        raise SlideError(
            f"{said}, by its file: x and y of a scanner differ by less than {_MOST - 1:.0%}, one of them is likely "
            "wrong. Give the true um/px in the column mpp of the slide table, or scan it again."
        )
    _log.warning("%s: each axis is read by itself, at %g um/px", said, min(x, y))
    return SquarePixels(backend, x / min(x, y), y / min(x, y)), min(x, y)


class SquarePixels(Backend):
    """Another backend whose axes are enlarged, at least one of them by 1; level-0 px are px of what comes out.

    Args:
        backend: the file, which is closed with this one.
        x, y: px that become of one of the file's.
    """

    def __init__(self, backend: Backend, x: float, y: float) -> None:
        self._backend, self.aspect = backend, (x, y)
        self.name, self.scales, self.icc_profile = backend.name, backend.scales, backend.icc_profile
        self.images, self.image, self.scanned_from = backend.images, backend.image, backend.scanned_from
        self.level_sizes = [(max(1, round(w * x)), max(1, round(h * y))) for w, h in backend.level_sizes]

    def read(self, x: int, y: int, width: int, height: int, level: int) -> NDArray[np.uint8]:
        """See :class:`Backend`."""
        own, sizes = self._backend.level_sizes[level], self.level_sizes[level]
        starts, ends, places = [], [], []
        for start, n, of_file, size in ((x, width, own[0], sizes[0]), (y, height, own[1], sizes[1])):
            first, last = start * of_file / size, (start + n) * of_file / size
            starts.append(max(math.floor(first) - _MARGIN_PX, 0))
            ends.append(min(math.ceil(last) + _MARGIN_PX, of_file))
            places.append((first - starts[-1], min(last, of_file) - starts[-1]))
        raw = self._backend.read(starts[0], starts[1], ends[0] - starts[0], ends[1] - starts[1], level)
        (left, right), (top, bottom) = places
        return resampled(raw, (width, height), (left, top, right, bottom))

    def left_out_tiles(self, level: int) -> NDArray[np.int64]:
        """See :class:`Backend`."""
        scale = np.array([*self.level_sizes[level]] * 2) / np.array([*self._backend.level_sizes[level]] * 2)
        return np.rint(self._backend.left_out_tiles(level) * scale).astype(np.int64)

    def close(self) -> None:
        """Close the file."""
        self._backend.close()
