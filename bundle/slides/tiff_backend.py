"""What readers of TIFF share: a tile is looked at, and decoded on the spot where that gives the same pixels."""

from abc import abstractmethod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .backend import Backend
from .missing_tiles import fill
from .tiff_pages import TiffPages
from .tile_decoder import TileDecoder


class TiffBackend(Backend):
    """A reader of TIFF and SVS; for errors see :class:`TiffPages`."""

    def __init__(self, path: Path, section: int | None = None) -> None:
        self._pages = TiffPages(path, section)
        self.images, self.image = self._pages.images, self._pages.image
        self.level_sizes, self.scales = self._pages.sizes, self._pages.scales
        self.icc_profile = self._pages.icc_profile

    def tile_size(self, level: int) -> tuple[int, int] | None:
        """(width, height) in px of the level's tiles, None for a level without."""
        page = self._pages.levels[level]
        return (page.tilewidth, page.tilelength) if page.is_tiled else None

    def read_tile(self, column: int, row: int, level: int, out: NDArray[np.uint8]) -> bool:
        """See :class:`Backend`."""
        data = self._pages.tile(column, row, level)
        if data is None:
            if level == 0:
                return False
            x, y = column * out.shape[1], row * out.shape[0]
            fill(out, self, x, y, level, [(x, y, x + out.shape[1], y + out.shape[0])])
            return True
        decoder = self._decoder_of(level)
        if decoder is None:
            self._own_tile(data, column, row, level, out)
        else:
            decoder.decode(data, out)
        return True

    def left_out_tiles(self, level: int) -> NDArray[np.int64]:
        """See :class:`Backend`."""
        return self._pages.left_out_tiles(level)

    def tile_decoder(self, level: int) -> str:
        """imagecodecs, or the reader's own library."""
        decoder = self._decoder_of(level)
        return self.name if decoder is None else decoder.name

    @abstractmethod
    def _decoder_of(self, level: int) -> TileDecoder | None:
        """What decodes the level's tiles in place of the reader's own library."""

    @abstractmethod
    def _own_tile(self, data: bytes, column: int, row: int, level: int, out: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A tile by the reader's own library, in its place in ``out``; the part of it that was filled is given back."""

    def close(self) -> None:
        """Close the file."""
        self._pages.close()
