"""What each reader gives: levels, a resolution if the file names one, and rectangles of one level."""

import math
import re
from abc import ABC, abstractmethod
from html import unescape
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..core import SlideError

MIN_MPP, MAX_MPP = 0.01, 20.0
_UM_PER_UNIT = {"INCH": 25400.0, "CENTIMETER": 10000.0, "MILLIMETER": 1000.0, "MICROMETER": 1.0}
_UM_PER_OME_UNIT = {"\u00b5m": 1.0, "\u03bcm": 1.0, "um": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4}
_NUMBER = r"([-+0-9.,eE]+)"  # some systems write a decimal comma


class Backend(ABC):
    """A slide file opened by one library. Methods may be called from several threads at once."""

    name: str
    level_sizes: list[tuple[int, int]]
    mpp: tuple[float, float] | None
    scanned_from: tuple[float, float] = (0, 0)

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

    def tile_decoder(self, level: int) -> str:
        """The library that decodes in :meth:`read_tile`, for the record."""
        return self.name

    @abstractmethod
    def close(self) -> None:
        """Give the file back."""


class WrongReaderError(Exception):
    """This library does not read this file; another may."""


class DamagedFileError(Exception):
    """No library can read this file."""


class Resolution(NamedTuple):
    """um/px in x and y."""

    x: float
    y: float


def mpp_of_description(description: str) -> Resolution | None:
    """Resolution in a TIFF's ImageDescription: Aperio's ``MPP = 0.25``, or OME-XML's ``PhysicalSizeX``."""
    aperio = re.search(rf"\bMPP\s*=\s*{_NUMBER}", description)
    if aperio:
        return _resolution(aperio[1], aperio[1])
    x = re.search(rf'PhysicalSizeX="{_NUMBER}"', description)
    y = re.search(rf'PhysicalSizeY="{_NUMBER}"', description)
    unit = re.search(r'PhysicalSizeXUnit="([^"]*)"', description)
    um = 1.0 if unit is None else _UM_PER_OME_UNIT.get(unescape(unit[1]))
    found = _resolution(x[1], (y or x)[1]) if x else None
    return None if found is None or um is None else Resolution(found.x * um, found.y * um)


def mpp_of_tags(tags: Any) -> Resolution | None:
    """Resolution in a TIFF's tags, where it is that of a microscope and not of a screen or printer (72, 96, 300 dpi).

    Args:
        tags: ``tifffile.TiffTags`` of the first page.
    """
    unit = tags.get("ResolutionUnit")
    pair = [tags.get(name) for name in ("XResolution", "YResolution")]
    if unit is None or None in pair:
        return None
    um = _UM_PER_UNIT.get(getattr(unit.value, "name", str(unit.value)))
    rates = [tag.value[0] / tag.value[1] if tag.value[1] else 0.0 for tag in pair]
    if um is None or min(rates) <= 0:
        return None
    found = Resolution(um / rates[0], um / rates[1])
    return found if max(found) <= MAX_MPP else None


def _resolution(x: str, y: str) -> Resolution | None:
    try:
        return Resolution(*(float(number.rstrip(",").replace(",", ".")) for number in (x, y)))
    except ValueError:  # none, or one with thousands set off
        return None


def checked_mpp(mpp: float, slide_id: str, where: str) -> float:
    """``mpp`` if a slide can have it.

    Raises:
        SlideError: it is not a number within (0.01, 20) um/px.
    """
    if math.isfinite(mpp) and MIN_MPP <= mpp <= MAX_MPP:
        return float(mpp)
    raise SlideError(
        f"slide {slide_id}: {where} says {mpp:g} um/px, which no slide has ({MIN_MPP:g} to {MAX_MPP:g}): "
        "give the true value in the column mpp of the slide table."
    )
