"""Slides read by cuCIM: the fastest for tiled TIFF and SVS."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .backend import WrongReaderError, is_tiff
from .tiff_pages import TiffPages
from .tile_guard import JPEG, JPEG2000, TileGuard

_READING_THREADS = 2


class CucimBackend:
    """cuCIM for tiles in JPEG and JPEG 2000; other compressions are for the other readers.

    Where a JPEG tile does not decode, cuCIM prints and goes on with garbage, or crashes; where a deflated one does not,
    it ends the process. So tiles are looked at before it sees them. A tile that the file leaves out, which cuCIM makes
    black, is white.
    """

    name = "cucim"

    def __init__(self, path: Path) -> None:
        if not is_tiff(path):
            raise WrongReaderError("cuCIM reads TIFF and SVS")
        self._pages = TiffPages(path)
        try:
            self._image = _opened(path, self._pages)
            self._match_levels()
        except WrongReaderError:
            self._pages.file.close()
            raise
        self.mpp = self._pages.mpp
        self._guard = TileGuard(path, self._pages)

    def _match_levels(self) -> None:
        """Pair cuCIM's levels with the file's pages, by size."""
        resolutions = self._image.resolutions
        sizes = [tuple(size) for size in resolutions["level_dimensions"]]
        if self._image.dims != "YXC" or sizes[0] != self._pages.sizes[0]:
            raise WrongReaderError(f"cuCIM sees {self._image.dims} {sizes[0]}, the file says {self._pages.sizes[0]}")
        by_size = dict(zip(self._pages.sizes, self._pages.levels, strict=True))
        self._indices = [index for index, size in enumerate(sizes) if size in by_size]
        self._downsamples = [resolutions["level_downsamples"][index] for index in self._indices]
        self.level_sizes = [sizes[index] for index in self._indices]
        self._pages.levels = [by_size[size] for size in self.level_sizes]

    def read(self, x: int, y: int, width: int, height: int, level: int) -> NDArray[np.uint8]:
        """RGB of a rectangle within the level.

        Raises:
            RuntimeError, ValueError: a tile is damaged.
        """
        left_out = self._guard.look_at(x, y, width, height, level)
        downsample = self._downsamples[level]
        # cuCIM takes a corner in level-0 px and truncates: aim at the middle of the wanted pixel
        location = (x, y) if level == 0 else (int((x + 0.5) * downsample), int((y + 0.5) * downsample))
        n_threads = _READING_THREADS if width * height > 1 << 20 else 1
        found = self._image.read_region(location, (width, height), self._indices[level], num_workers=n_threads)
        picture: NDArray[np.uint8] = np.asarray(found)[..., :3]
        if left_out:
            picture = picture.copy()
            for left, top, right, bottom in left_out:
                picture[max(top - y, 0) : bottom - y, max(left - x, 0) : right - x] = 255
        return picture

    def close(self) -> None:
        """Close the file."""
        self._image.close()
        self._guard.close()


def _opened(path: Path, pages: TiffPages) -> Any:
    """The file as a ``CuImage``, if cuCIM reads it well."""
    if not all(page.is_tiled for page in pages.levels):
        raise WrongReaderError("cuCIM reads tiled files")
    kinds = {int(page.compression) for page in pages.levels} - {JPEG, *JPEG2000}
    if kinds:
        raise WrongReaderError(f"cuCIM is asked for JPEG and JPEG 2000 alone, not for TIFF compression {kinds.pop()}")
    os.environ.setdefault("ENABLE_CUSLIDE2", "0")  # silences a plugin that needs a GPU
    try:
        from cucim import CuImage  # type: ignore[attr-defined,unused-ignore]
    except ImportError as error:
        raise WrongReaderError(f"cuCIM cannot be imported ({error})") from error
    try:
        return CuImage(str(path))
    except (RuntimeError, ValueError) as error:
        raise WrongReaderError(str(error)) from error
