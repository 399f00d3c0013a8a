"""Slides read by OpenSlide: NDPI, MRXS, DICOM and all else that it knows."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .backend import Backend, DamagedFileError, KnownLimitError, MissingLibraryError, WrongReaderError
from .colors import RefusedColorsError, over_white, profile_name
from .images import RefusedFileError, SlideImage, choose, with_roles
from .missing_tiles import filled
from .tiff_pages import TiffPages
from .tile_decoder import JPEG2000
from .vendor_mpp import scales_of_openslide, together

_UNSUPPORTED_CODEC = "Unsupported TIFF compression"

_NONE, _BLOCK = 1, 1024  # TIFF's Compression; libtiff takes its buffer's size for the tile's

_NO_VENDOR = "generic-tiff"
_LEVELS_ARE_PAGES = ("aperio", "philips", _NO_VENDOR)  # of other vendors' TIFFs OpenSlide puts levels together


class OpenslideBackend(Backend):
    """OpenSlide; what it gives as transparent is white. After one failed read it refuses all.

    It decodes some damaged JPEG tiles without a word, so those of a TIFF are looked at first.
    """

    name = "openslide"

    def __init__(self, path: Path, section: int | None = None) -> None:
        try:
            import openslide
        except ImportError as error:
            raise MissingLibraryError(f"OpenSlide cannot be imported ({error})") from error
        try:
            self._slide = openslide.OpenSlide(str(path))
        except (openslide.OpenSlideError, OSError) as error:
            is_codec = _UNSUPPORTED_CODEC in str(error)  # the file may be well: another reader has more codecs
            raise (KnownLimitError if is_codec else WrongReaderError)(str(error)) from error
        self._error = openslide.OpenSlideError
        self.level_sizes = [tuple(size) for size in self._slide.level_dimensions]
        bounds = [self._slide.properties.get(f"openslide.bounds-{axis}", "0") for axis in "xy"]
        self.scanned_from = (float(bounds[0]), float(bounds[1]))
        self._pages: TiffPages | None = None
        self.scales = scales_of_openslide(self._slide.properties)
        try:
            self._take_images(path, section)
        except (WrongReaderError, DamagedFileError, RefusedFileError):
            self.close()
            raise

    def _take_images(self, path: Path, section: int | None) -> None:
        """List what the file holds, and insist that OpenSlide reads the slide of it."""
        vendor = self._slide.properties.get("openslide.vendor")
        pages = None
        if vendor in _LEVELS_ARE_PAGES:
            try:
                pages = TiffPages(path, section)
            except RefusedColorsError:
                raise
            except (WrongReaderError, DamagedFileError):
                if vendor == _NO_VENDOR:  # nobody knows its format better
                    raise
        if pages is None:
            self.images = self._listed()
            self.image, self.icc_profile = choose(self.images, section), self._own_profile()
            return
        self._pages, self.images, self.image = pages, pages.images, pages.image
        self.scales = together(pages.scales, self.scales)
        self.icc_profile = pages.icc_profile or self._own_profile()
        pages.insist_on_first("OpenSlide")
        if self.level_sizes[0] != pages.sizes[0]:
            raise WrongReaderError(f"OpenSlide sees {self.level_sizes[0]} px, the file says {pages.sizes[0]}")
        self._check_pages(pages)
        self._match_levels(pages)

    def _listed(self) -> list[SlideImage]:
        """The slide, and what OpenSlide calls associated images: label, macro, thumbnail."""
        found = [SlideImage(0, *self.level_sizes[0], levels=tuple(self.level_sizes), mpp=self.mpp)]
        said = self._slide.properties
        for name in self._slide.associated_images:  # asked for their px, they would be decoded
            size = int(said[f"openslide.associated.{name}.width"]), int(said[f"openslide.associated.{name}.height"])
            found.append(SlideImage(len(found), *size, levels=(size,), name=name))
        return with_roles(found, has_sections=False)

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
            raise KnownLimitError(wrong)

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
        return filled(self._rectangle(x, y, width, height, level), self, x, y, level, left_out)

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
