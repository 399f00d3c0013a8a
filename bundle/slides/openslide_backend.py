"""Slides read by OpenSlide: NDPI, MRXS, DICOM and all else that it knows."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .backend import Backend, DamagedFileError, WrongReaderError
from .colors import RefusedColorsError, over_white, profile_name
from .missing_tiles import fill
from .tiff_pages import TiffPages
from .tile_decoder import JPEG2000
from .vendor_mpp import scales_of_openslide, together

_NONE, _BLOCK = 1, 1024  # TIFF's Compression; libtiff takes its buffer's size for the tile's


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
        self._pages: TiffPages | None = None
        self.scales = scales_of_openslide(self._slide.properties)
        try:
            self._pages = TiffPages(path)
        except RefusedColorsError as error:
            if error.size == self.level_sizes[0]:  # else it is of another image in the file, not of the slide
                self._slide.close()
                raise
        except (WrongReaderError, DamagedFileError):
            pass
        else:
            if self._pages.sizes[0] == self.level_sizes[0]:
                self._check_pages(self._pages)
                self.icc_profile = self._pages.icc_profile
                self.scales = together(self._pages.scales, self.scales)
            self.scales = self.scales or self._pages.scales
            self._match_levels(self._pages)
        self.icc_profile = self.icc_profile or self._own_profile()

    def _check_pages(self, pages: TiffPages) -> None:
        """Refuse what OpenSlide opens, and does not read right."""
        colors = pages.colors_at(0)
        wrong = ""
        if colors.n_samples == 4 and not colors.alpha:
            wrong = "OpenSlide would take the fourth sample for transparency"
        elif colors.bits == 16 and pages.levels[0].compression in JPEG2000:
            wrong = "OpenSlide is asked for JPEG 2000 of 8 bits"
        elif any(page.compression == _NONE and pages.tile_bytes(i) % _BLOCK for i, page in enumerate(pages.levels)):
            wrong = f"OpenSlide reads tiles without compression only of a multiple of {_BLOCK} bytes"
        elif self._slide.properties.get("openslide.vendor") == "aperio" and any(
            len(pages.left_out_tiles(level)) for level in range(len(pages.levels) - 1)
        ):
            wrong = "where a tile is missing, OpenSlide shows no smaller level, even if that has it"
        if wrong:
            self.close()
            raise WrongReaderError(wrong)

    def _match_levels(self, pages: TiffPages) -> None:
        """Pair OpenSlide's levels with the file's pages, by size; where one has no tiles, none are looked at."""
        by_size = {size: page for size, page in zip(pages.sizes, pages.levels, strict=True) if page.is_tiled}
        if all(size in by_size for size in self.level_sizes):
            pages.levels = [by_size[size] for size in self.level_sizes]
        else:
            self._forget_pages()

    def _forget_pages(self) -> None:
        if self._pages is not None:
            self._pages.close()
        self._pages = None

    def _own_profile(self) -> str:
        if "openslide.icc-size" not in self._slide.properties:
            return ""
        profile = self._slide.color_profile
        return "" if profile is None else profile_name(profile.tobytes())

    def left_out_tiles(self, level: int) -> NDArray[np.int64]:
        """See :class:`Backend`."""
        return super().left_out_tiles(level) if self._pages is None else self._pages.left_out_tiles(level)

    def read(self, x: int, y: int, width: int, height: int, level: int) -> NDArray[np.uint8]:
        """See :class:`Backend`."""
        left_out = [] if self._pages is None else self._pages.left_out(x, y, width, height, level)
        picture = self._rectangle(x, y, width, height, level)
        if left_out:
            picture = picture.copy()
            fill(picture, self, x, y, level, left_out)
        return picture

    def _rectangle(self, x: int, y: int, width: int, height: int, level: int) -> NDArray[np.uint8]:
        """What OpenSlide makes of it."""
        downsample = self._slide.level_downsamples[level]
        location = (round(x * downsample), round(y * downsample))  # it interpolates between pixels
        try:
            rgba = np.asarray(self._slide.read_region(location, level, (width, height)))
        except self._error as error:
            raise RuntimeError(str(error)) from error
        if rgba[..., 3].min() == 255:
            return rgba[..., :3]
        return over_white(rgba[..., :3], rgba[..., 3])

    def close(self) -> None:
        """Close the file."""
        self._slide.close()
        self._forget_pages()
