"""Slides read by tifffile: the last resort, and the plainest."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .backend import WrongReaderError
from .tiff_backend import TiffBackend
from .tile_decoder import JPEG, TileDecoder

_MAX_UNTILED_PX = 20_000 * 20_000


class TifffileBackend(TiffBackend):
    """Decodes only the tiles that a rectangle touches; a level without tiles is decoded whole, once."""

    name = "tifffile"

    def __init__(self, path: Path, section: int | None = None) -> None:
        super().__init__(path, section)
        width, height = self.level_sizes[0]
        if not self._pages.levels[0].is_tiled and width * height > _MAX_UNTILED_PX:
            self.close()
            raise WrongReaderError(f"{width} x {height} px without tiles do not fit into memory")
        self._decoders = [
            TileDecoder(page) if page.compression == JPEG and TileDecoder.fits(page) else None
            for page in self._pages.levels
        ]
        self._whole: dict[int, NDArray[np.uint8]] = {}
        self._lock = threading.Lock()

    def read(self, x: int, y: int, width: int, height: int, level: int) -> NDArray[np.uint8]:
        """See :class:`Backend`."""
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

    def _decoder_of(self, level: int) -> TileDecoder | None:
        return self._decoders[level]

    def _own_tile(self, data: bytes, column: int, row: int, level: int, out: NDArray[np.uint8]) -> NDArray[np.uint8]:
        page, index = self._pages.levels[level], self._pages.tile_index(column, row, level)
        decoded = page.decode(data, index, jpegtables=page.jpegtables, jpegheader=page.jpegheader)[0][0, ..., :3]
        part = out[: decoded.shape[0], : decoded.shape[1]]
        part[:] = decoded
        return part

    def _all(self, page: Any, level: int) -> NDArray[np.uint8]:
        with self._lock:
            if level not in self._whole:
                self._whole[level] = page.asarray()[..., :3]
        return self._whole[level]
