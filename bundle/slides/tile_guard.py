"""Damaged and missing tiles, noticed before a native library meets them."""

import os
from pathlib import Path
from typing import Any

from .backend import DamagedFileError, WrongReaderError
from .jpeg_tiles import jpeg_damage
from .tiff_pages import TiffPages

JPEG, JPEG2000 = 7, (33003, 33005)
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
        for index, column, row in self._pages.tiles_in(x, y, width, height, level):
            offset, size = page.dataoffsets[index], page.databytecounts[index]
            if size == 0:
                left, top = column * page.tilewidth, row * page.tilelength
                left_out.append((left, top, left + page.tilewidth, top + page.tilelength))
                continue
            damage = self._damage(page, offset, size)
            if damage is not None:
                raise ValueError(f"the tile in column {column}, row {row} of level {level} is damaged ({damage})")
        return left_out

    def _damage(self, page: Any, offset: int, size: int) -> str | None:
        if page.compression == JPEG:
            return jpeg_damage(os.pread(self._file, size, offset), page.tilewidth, page.tilelength)
        if page.compression in JPEG2000 and os.pread(self._file, 2, offset) != _JPEG2000_START:
            return "it does not start as JPEG 2000"
        return None

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
