"""What each reader gives: levels, a resolution if the file names one, and rectangles of one level."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..core import SlideError
from .images import SlideImage

MIN_MPP, MAX_MPP = 0.05, 20.0  # finer than any objective resolves; coarser than any scanner's overview


class Scale(NamedTuple):
    """um/px in x and y as one field of a file says; nan where its unit is no length."""

    field: str
    x: float
    y: float


class Backend(ABC):
    """A slide file opened by one library. Methods may be called from several threads at once.

    Attributes:
        name: of the reader.
        images: all that the file holds.
        image: the one that is read.
        level_sizes: (width, height) of the levels that this reader gives, finest first.
        mpp: um/px of level 0, None where the file does not say.
    """

    name: str
    images: Sequence[SlideImage]
    image: SlideImage
    level_sizes: list[tuple[int, int]]
    scales: list[Scale]  # all that the file says, the most trustworthy first
    scanned_from: tuple[float, float] = (0, 0)  # where what was scanned begins, in the file's px
    icc_profile: str = ""  # its color profile by name and contents, for the record
    aspect: tuple[float, float] = (1.0, 1.0)  # px, in x and y, that are made of one of the file's

    @property
    def mpp(self) -> tuple[float, float] | None:
        """um/px of the finest level in x and y, None where the file does not name it."""
        return next(((scale.x, scale.y) for scale in self.scales if math.isfinite(scale.x + scale.y)), None)

    @abstractmethod
    def read(self, x: int, y: int, width: int, height: int, level: int) -> NDArray[np.uint8]:
        """RGB [height, width, 3] of a rectangle that lies within the level; x, y in px of that level.

        Raises:
            RuntimeError, ValueError: it does not decode.
        """

    def tile_size(self, level: int) -> tuple[int, int] | None:
        """(width, height) in px of the level's tiles if :meth:`read_tile` gives them, else None."""
        return None

    def read_tile(self, column: int, row: int, level: int, out: NDArray[np.uint8]) -> bool:
        """Decode a tile into ``out`` [tile height, tile width, 3], contiguous; False where the file leaves it out.

        Only what lies within the level is meant: a tile at its border may end there or go on.

        Raises:
            RuntimeError, ValueError: it is damaged.
        """
        raise NotImplementedError

    def left_out_tiles(self, level: int) -> NDArray[np.int64]:
        """Boxes (left, top, right, bottom) of tiles that the file leaves out of a level, px of the level, [n, 4]."""
        return np.empty((0, 4), np.int64)

    def tile_decoder(self, level: int) -> str:
        """The library that decodes in :meth:`read_tile`, for the record."""
        return self.name

    @abstractmethod
    def close(self) -> None:
        """Give the file back."""


class WrongReaderError(Exception):
    """This library does not read this file; another may."""


class KnownLimitError(WrongReaderError):
    """This library would read this file wrong, or not at all; that says nothing of the file."""


class MissingLibraryError(KnownLimitError):
    """This library cannot be imported."""


class DamagedFileError(Exception):
    """No library can read this file."""


def checked_mpp(mpp: float, slide_id: str, where: str) -> float:
    """``mpp`` if a slide can have it.

    Raises:
        SlideError: it is not a number within (0.05, 20) um/px.
    """
    if math.isfinite(mpp) and MIN_MPP <= mpp <= MAX_MPP:
        return float(mpp)
    raise SlideError(
        f"slide {slide_id}: {where} says {mpp:g} um/px, which no slide has ({MIN_MPP:g} to {MAX_MPP:g}): "
        "give the true value in the column mpp of the slide table."
    )
