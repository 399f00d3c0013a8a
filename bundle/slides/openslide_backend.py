"""Slides read by OpenSlide: NDPI, MRXS, DICOM and all else that it knows."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .backend import Backend, DamagedFileError, Resolution, WrongReaderError
from .tiff_pages import TiffPages


class OpenslideBackend(Backend):
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
        bounds = [self._slide.properties.get(f"openslide.bounds-{axis}", "0") for axis in "xy"]
        self.scanned_from = (float(bounds[0]), float(bounds[1]))
        self._pages: TiffPages | None = None
        try:
            self._pages = TiffPages(path)
        except (WrongReaderError, DamagedFileError):
            self.mpp = self._resolution()
        else:
            self.mpp = self._resolution() or self._pages.mpp
            self._match_levels(self._pages)

    def _match_levels(self, pages: TiffPages) -> None:
        """Pair OpenSlide's levels with the file's pages, by size; where one has no tiles, none are looked at."""
        by_size = {size: page for size, page in zip(pages.sizes, pages.levels, strict=True) if page.is_tiled}
        if all(size in by_size for size in self.level_sizes):
            pages.levels = [by_size[size] for size in self.level_sizes]
        else:
            pages.close()
            self._pages = None

    def _resolution(self) -> Resolution | None:
        try:
            x, y = (float(self._slide.properties[f"openslide.mpp-{axis}"]) for axis in "xy")
        except (KeyError, ValueError):
            return None
        if self._slide.properties.get("openslide.vendor") == "generic-tiff" and max(x, y) > 20:
            return None  # a screen's or printer's resolution
        return Resolution(x, y)

    def read(self, x: int, y: int, width: int, height: int, level: int) -> NDArray[np.uint8]:
        """See :class:`Backend`."""
        if self._pages is not None:
            self._pages.left_out(x, y, width, height, level)
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

    def close(self) -> None:
        """Close the file."""
        self._slide.close()
        if self._pages is not None:
            self._pages.close()
