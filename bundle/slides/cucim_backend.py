"""Slides read by cuCIM: the fastest for tiled TIFF and SVS."""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .backend import WrongReaderError, is_tiff
from .tiff_pages import TiffPages

_JPEG, _JPEG2000 = 7, (33003, 33005)
_FIRST_BYTES = {_JPEG: b"\xff\xd8", **dict.fromkeys(_JPEG2000, b"\xff\x4f")}
_READING_THREADS = 2


class CucimBackend:
    """cuCIM gives garbage for a tile that does not decode, so the tiles' first and last bytes are looked at first.

    Damage in the middle of a tile's data passes unseen: the tile is decoded as far as possible.
    """

    name = "cucim"

    def __init__(self, path: Path) -> None:
        if not is_tiff(path):
            raise WrongReaderError("cuCIM reads TIFF and SVS")
        os.environ.setdefault("ENABLE_CUSLIDE2", "0")  # silences a plugin that needs a GPU
        try:
            from cucim import CuImage
        except ImportError as error:
            raise WrongReaderError(f"cuCIM cannot be imported ({error})") from error
        self._pages = TiffPages(path)
        if not all(page.is_tiled for page in self._pages.levels):
            raise WrongReaderError("cuCIM reads tiled files")
        try:
            self._image = CuImage(str(path))
        except (RuntimeError, ValueError) as error:
            raise WrongReaderError(str(error)) from error
        sizes = [tuple(size) for size in self._image.resolutions["level_dimensions"]]
        if self._image.dims != "YXC" or sizes[0] != self._pages.sizes[0]:
            raise WrongReaderError(f"cuCIM sees {self._image.dims} {sizes[0]}, the file says {self._pages.sizes[0]}")
        by_size = dict(zip(self._pages.sizes, self._pages.levels, strict=True))
        self._indices = [index for index, size in enumerate(sizes) if size in by_size]
        self.level_sizes = [sizes[index] for index in self._indices]
        self._pages.levels = [by_size[size] for size in self.level_sizes]
        self.mpp = self._pages.mpp
        self._file = os.open(path, os.O_RDONLY)

    def read(self, x: int, y: int, width: int, height: int, level: int) -> NDArray[np.uint8]:
        """RGB of a rectangle within the level.

        Raises:
            RuntimeError, ValueError: a tile is damaged.
        """
        self._look_at_tiles(x, y, width, height, level)
        index = self._indices[level]
        downsample = self._image.resolutions["level_downsamples"][index]
        # cuCIM takes a corner in level-0 px and truncates: aim at the middle of the wanted pixel
        location = (x, y) if level == 0 else (int((x + 0.5) * downsample), int((y + 0.5) * downsample))
        n_threads = _READING_THREADS if width * height > 1 << 20 else 1
        return np.asarray(self._image.read_region(location, (width, height), index, num_workers=n_threads))[..., :3]

    def _look_at_tiles(self, x: int, y: int, width: int, height: int, level: int) -> None:
        page = self._pages.levels[level]
        expected = _FIRST_BYTES.get(int(page.compression))
        if expected is None:
            return
        for index, column, row in self._pages.tiles_in(x, y, width, height, level):
            offset, size = page.dataoffsets[index], page.databytecounts[index]
            if size == 0:
                continue  # by convention a tile without tissue
            ends_well = int(page.compression) != _JPEG or os.pread(self._file, 2, offset + size - 2) == b"\xff\xd9"
            if os.pread(self._file, 2, offset) != expected or not ends_well:
                raise ValueError(f"the tile in column {column}, row {row} of level {level} is damaged")

    def close(self) -> None:
        """Close the file."""
        self._image.close()
        self._pages.file.close()
        os.close(self._file)
