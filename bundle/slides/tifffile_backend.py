"""Slides read by tifffile: the last resort, and the plainest."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .backend import WrongReaderError
from .tiff_backend import TiffBackend
from .tiff_pages import n_tiles
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
        if any(colors.is_subsampled for colors in self._pages.colors.values()):
            self.close()
            raise WrongReaderError("Cb and Cr that are fewer than Y, or of an unusual range, are for OpenSlide")
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
        page, colors, tiles = self._pages.levels[level], self._pages.colors_at(level), [data]
        for plane in range(1, colors.n_planes):
            found = self._pages.tile(column, row, level, plane=plane)
            if found is None:
                raise ValueError(f"the tile in column {column}, row {row} of level {level} lacks one of its samples")
            tiles.append(found)
        first, step = self._pages.tile_index(column, row, level), n_tiles(page)
        samples = [self._decoded(page, tile, first + plane * step) for plane, tile in enumerate(tiles)]
        rgb = colors.to_rgb(np.concatenate(samples, -1))
        part = out[: rgb.shape[0], : rgb.shape[1]]
        part[:] = rgb
        return part

    @staticmethod
    def _decoded(page: Any, data: bytes, index: int) -> NDArray[Any]:
        """Samples of a tile, [h, w, n]; a tile at the border may end there."""
        samples: NDArray[Any] = page.decode(data, index, jpegtables=page.jpegtables, jpegheader=page.jpegheader)[0][0]
        return samples

    def _all(self, page: Any, level: int) -> NDArray[np.uint8]:
        with self._lock:
            if level not in self._whole:
                colors, samples = self._pages.colors_at(level), page.asarray()
                samples = np.moveaxis(samples, 0, -1) if colors.n_planes > 1 else samples
                samples = samples[..., None] if samples.ndim == 2 else samples
                self._whole[level] = colors.to_rgb(samples)
        return self._whole[level]
