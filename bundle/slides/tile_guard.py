"""Damaged and missing tiles, noticed before a native library meets them."""

import os
from pathlib import Path

from .backend import DamagedFileError, WrongReaderError
from .jpeg_tiles import jpeg_damage
from .tiff_pages import TiffPages
from .tile_decoder import JPEG, JPEG2000

_JPEG2000_START = b"\xff\x4f"
Box = tuple[int, int, int, int]


class TileGuard:
    """Looks at tiles in the file itself. Threads may share it.

    Args:
        path: a TIFF.
        pages: its levels, in the order in which they will be asked for.
    """

    def __init__(self, path: Path, pages: TiffPages) -> None:
        self._pages = pages
        self._file = os.open(path, os.O_RDONLY)

    def look_at(self, x: int, y: int, width: int, height: int, level: int) -> list[Box]:
        """Boxes (left, top, right, bottom) in px of the level of tiles that the file leaves out.

        Raises:
            ValueError: a tile under the rectangle is damaged.
        """
        page = self._pages.levels[level]
        left_out = []
        for column, row in self._pages.tiles_in(x, y, width, height, level):
            if self._look(column, row, level) is None:
                left, top = column * page.tilewidth, row * page.tilelength
                left_out.append((left, top, left + page.tilewidth, top + page.tilelength))
        return left_out

    def tile(self, column: int, row: int, level: int) -> bytes | None:
        """A tile as it lies in the file, None where the file leaves it out.

        Raises:
            ValueError: it is damaged.
        """
        return self._look(column, row, level, is_wanted=True)

    def _look(self, column: int, row: int, level: int, is_wanted: bool = False) -> bytes | None:
        """As much of a tile as it takes to judge it; all of it where it is wanted: nothing is read twice."""
        page = self._pages.levels[level]
        index = self._pages.tile_index(column, row, level)
        offset, size = page.dataoffsets[index], page.databytecounts[index]
        if size == 0:
            return None
        is_whole = is_wanted or page.compression == JPEG
        data = os.pread(self._file, size if is_whole else min(size, len(_JPEG2000_START)), offset)
        damage = None
        if page.compression == JPEG:
            damage = jpeg_damage(data, page.tilewidth, page.tilelength)
        elif page.compression in JPEG2000 and not data.startswith(_JPEG2000_START):
            damage = "it does not start as JPEG 2000"
        if damage is not None:
            raise ValueError(f"the tile in column {column}, row {row} of level {level} is damaged ({damage})")
        return data

    def close(self) -> None:
        """Close the file."""
        self._pages.file.close()
        os.close(self._file)


def guard_of(path: Path, level_sizes: list[tuple[int, int]]) -> TileGuard | None:
    """A guard for a file whose levels another library names, None where the file's tiles are not found."""
    try:
        pages = TiffPages(path)
    except (WrongReaderError, DamagedFileError):
        return None
    by_size = dict(zip(pages.sizes, pages.levels, strict=True))
    if not all(size in by_size and by_size[size].is_tiled for size in level_sizes):
        pages.file.close()
        return None
    pages.levels = [by_size[size] for size in level_sizes]
    return TileGuard(path, pages)
