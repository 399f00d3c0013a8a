"""Slides read by tifffile: the last resort, and the plainest."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .backend import WrongReaderError, is_tiff
from .jpeg_tiles import jpeg_damage
from .tiff_pages import TiffPages
from .tile_guard import JPEG

_MAX_UNTILED_PX = 20_000 * 20_000


class TifffileBackend:
    """Decodes only the tiles that a rectangle touches; a level without tiles is decoded whole, once."""

    name = "tifffile"

    def __init__(self, path: Path) -> None:
        if not is_tiff(path):
            raise WrongReaderError("tifffile reads TIFF and SVS")
        self._pages = TiffPages(path)
        width, height = self._pages.sizes[0]
        if not self._pages.levels[0].is_tiled and width * height > _MAX_UNTILED_PX:
            raise WrongReaderError(f"{width} x {height} px without tiles do not fit into memory")
        self.level_sizes = self._pages.sizes
        self.mpp = self._pages.mpp
        self._whole: dict[int, NDArray[np.uint8]] = {}
        self._lock = threading.Lock()

    def read(self, x: int, y: int, width: int, height: int, level: int) -> NDArray[np.uint8]:
        """RGB of a rectangle within the level.

        Raises:
            ValueError, RuntimeError: a tile does not decode.
        """
        page = self._pages.levels[level]
        if not page.is_tiled:
            return self._all(page, level)[y : y + height, x : x + width]
        out = np.full((height, width, 3), 255, np.uint8)
        for index, column, row in self._pages.tiles_in(x, y, width, height, level):
            tile = self._tile(page, index)
            if tile is None:
                continue
            left, top = column * page.tilewidth - x, row * page.tilelength - y
            x0, y0 = max(left, 0), max(top, 0)
            piece = tile[y0 - top : height - top, x0 - left : width - left]
            out[y0 : y0 + piece.shape[0], x0 : x0 + piece.shape[1]] = piece
        return out

    def _tile(self, page: Any, index: int) -> NDArray[np.uint8] | None:
        """RGB of one tile; None where the file leaves it out."""
        size = page.databytecounts[index]
        if size == 0:
            return None
        with self._lock:
            self._pages.file.filehandle.seek(page.dataoffsets[index])
            data = self._pages.file.filehandle.read(size)
        damage = jpeg_damage(data, page.tilewidth, page.tilelength) if page.compression == JPEG else None
        if damage is not None:
            raise ValueError(f"tile {index} is damaged ({damage})")
        decoded = page.decode(data, index, jpegtables=page.jpegtables, jpegheader=page.jpegheader)[0]
        return None if decoded is None else decoded[0, ..., :3]

    def _all(self, page: Any, level: int) -> NDArray[np.uint8]:
        with self._lock:
            if level not in self._whole:
                self._whole[level] = page.asarray()[..., :3]
        return self._whole[level]

    def close(self) -> None:
        """Close the file."""
        self._pages.file.close()
