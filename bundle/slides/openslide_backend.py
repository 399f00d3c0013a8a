"""Slides read by OpenSlide: NDPI, MRXS, DICOM and all else that it knows."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .backend import Resolution, WrongReaderError, is_tiff
from .tiff_pages import tiff_mpp
from .tile_guard import guard_of


class OpenslideBackend:
    """OpenSlide; what it gives as transparent is white. After one failed read it refuses all.

    It decodes some damaged JPEG tiles without a word, so those of a TIFF are looked at first.
    """

    name = "openslide"

    def __init__(self, path: Path) -> None:
        try:
            import openslide
        except ImportError as error:
            raise WrongReaderError(f"OpenSlide cannot be imported ({error})") from error
        try:
            self._slide = openslide.OpenSlide(str(path))
        except (openslide.OpenSlideError, OSError) as error:
            raise WrongReaderError(str(error)) from error
        self._error = openslide.OpenSlideError
        self.level_sizes = [tuple(size) for size in self._slide.level_dimensions]
        self._guard = guard_of(path, self.level_sizes) if is_tiff(path) else None
        self.mpp = self._resolution() or (tiff_mpp(path) if is_tiff(path) else None)

    def _resolution(self) -> Resolution | None:
        try:
            x, y = (float(self._slide.properties[f"openslide.mpp-{axis}"]) for axis in "xy")
        except (KeyError, ValueError):
            return None
        if self._slide.properties.get("openslide.vendor") == "generic-tiff" and max(x, y) > 20:
            return None  # a screen's or printer's resolution
        return Resolution(x, y)

    def read(self, x: int, y: int, width: int, height: int, level: int) -> NDArray[np.uint8]:
        """RGB of a rectangle within the level.

        Raises:
            RuntimeError, ValueError: the rectangle does not decode.
        """
        if self._guard is not None:
            self._guard.look_at(x, y, width, height, level)
        downsample = self._slide.level_downsamples[level]
        location = (round(x * downsample), round(y * downsample))  # it interpolates between pixels
        try:
            rgba = np.asarray(self._slide.read_region(location, level, (width, height)))
        except self._error as error:
            raise RuntimeError(str(error)) from error
        if rgba[..., 3].min() == 255:
            return rgba[..., :3]
        alpha = rgba[..., 3:].astype(np.uint16)
        return ((rgba[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)

    def tile_size(self, level: int) -> tuple[int, int] | None:
        """None: OpenSlide knows rectangles, not tiles."""
        return None

    def read_tile(self, column: int, row: int, level: int, out: NDArray[np.uint8]) -> bool:
        """Not for OpenSlide.

        Raises:
            RuntimeError: always.
        """
        raise RuntimeError("OpenSlide gives no tiles")

    def tile_decoder(self, level: int) -> str:
        """OpenSlide."""
        return self.name

    def close(self) -> None:
        """Close the file."""
        self._slide.close()
        if self._guard is not None:
            self._guard.close()
