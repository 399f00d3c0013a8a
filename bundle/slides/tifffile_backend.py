"""Slides read by tifffile: the last resort, and the plainest."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .backend import WrongReaderError, is_tiff
from .tiff_pages import TiffPages
from .tile_decoder import JPEG, TileDecoder
from .tile_guard import TileGuard

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
        self._guard = TileGuard(path, self._pages)
        self._decoders = [
            TileDecoder(page) if page.compression == JPEG and TileDecoder.fits(page) else None
            for page in self._pages.levels
        ]
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
        tile = np.empty((page.tilelength, page.tilewidth, 3), np.uint8)
        for column, row in self._pages.tiles_in(x, y, width, height, level):
            if not self.read_tile(column, row, level, tile):
                continue
            left, top = column * page.tilewidth - x, row * page.tilelength - y
            x0, y0 = max(left, 0), max(top, 0)
            piece = tile[y0 - top : height - top, x0 - left : width - left]
            out[y0 : y0 + piece.shape[0], x0 : x0 + piece.shape[1]] = piece
        return out

    def tile_size(self, level: int) -> tuple[int, int] | None:
        """(width, height) in px of the level's tiles, None for a level without."""
        page = self._pages.levels[level]
        return (page.tilewidth, page.tilelength) if page.is_tiled else None

    def read_tile(self, column: int, row: int, level: int, out: NDArray[np.uint8]) -> bool:
        """Decode a tile into ``out``; False where the file leaves it out.

        Raises:
            ValueError, RuntimeError: it is damaged.
        """
        data = self._guard.tile(column, row, level)
        if data is None:
            return False
        decoder = self._decoders[level]
        if decoder is not None:
            decoder.decode(data, out)
            return True
        page = self._pages.levels[level]
        index = self._pages.tile_index(column, row, level)
        decoded = page.decode(data, index, jpegtables=page.jpegtables, jpegheader=page.jpegheader)[0][0, ..., :3]
        out[: decoded.shape[0], : decoded.shape[1]] = decoded
        return True

    def tile_decoder(self, level: int) -> str:
        """imagecodecs for JPEG; tifffile knows what else to do."""
        decoder = self._decoders[level]
        return self.name if decoder is None else decoder.name

    def _all(self, page: Any, level: int) -> NDArray[np.uint8]:
        with self._lock:
            if level not in self._whole:
                self._whole[level] = page.asarray()[..., :3]
        return self._whole[level]

    def close(self) -> None:
        """Close the file."""
        self._guard.close()
