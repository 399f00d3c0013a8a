"""The levels of a TIFF, and its tiles, damaged and missing ones noticed before a native library meets them."""

import logging
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from .backend import DamagedFileError, WrongReaderError
from .colors import PageColors, RefusedColorsError, colors_of, profile_name, refuse_channels
from .images import RefusedFileError, choose
from .jpeg_tiles import jpeg_damage
from .tiff_images import tiff_images
from .tile_decoder import JPEG, JPEG2000

logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what it complains about becomes an error here
_MAGIC = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_JPEG2000_START = b"\xff\x4f"
Box = tuple[int, int, int, int]


class TiffPages:
    """Pages of the pyramid in a TIFF or SVS file, finest first. Threads may share it.

    Args:
        path: the file.
        section: which of several sections, see :func:`~bundle.slides.images.choose`.

    Attributes:
        images: all that the file holds.
        image: the one whose levels these are.
        levels: tifffile's pages, in the order in which they will be asked for.
        scales: what the file says of the um/px of the finest level.
        icc_profile: its color profile by name and contents, empty where there is none.

    Raises:
        WrongReaderError: it is no TIFF.
        RefusedColorsError: the colors of the slide's image are none that a slide is read from.
        DamagedFileError: the file ends before its tiles or pages do.
        RefusedFileError: it holds no slide, or several and no section is named.
    """

    def __init__(self, path: Path, section: int | None = None) -> None:
        with path.open("rb") as file:  # native readers complain on the console about other files
            if file.read(4) not in _MAGIC:
                raise WrongReaderError("it is no TIFF or SVS")
        try:
            self.file = tifffile.TiffFile(path)
        except Exception as error:  # on damaged headers it raises whatever it stumbles over
            raise WrongReaderError(str(error) or type(error).__name__) from error
        try:
            self.levels: list[Any] = self._in_color(self._find_levels(section))
            self._check_numbers()
            self._check_extents()
            profile = self.levels[0].tags.get("InterColorProfile")
            self.icc_profile = "" if profile is None else profile_name(profile.value)
        except (WrongReaderError, DamagedFileError, RefusedFileError):
            self.file.close()
            raise
        except Exception as error:
            self.file.close()
            raise WrongReaderError(f"its pages make no sense ({type(error).__name__}: {error})") from error

    def _find_levels(self, section: int | None) -> list[Any]:
        found = tiff_images(self.file)
        self.images = [image for image, *_ in found]
        self.image = choose(self.images, section)
        levels, self.scales = next(each[1:] for each in found if each.image is self.image)
        refuse_channels(self.image.channels // levels[0].samplesperpixel, levels[0])
        return levels

    def _in_color(self, levels: list[Any]) -> list[Any]:
        """Levels whose colors are known to be read right; the finest has to be one of them."""
        said = re.search(r'SignificantBits="(\d+)"', self.file.ome_metadata or "") if self.file.is_ome else None
        bits = None if said is None else int(said[1])
        self.colors: dict[int, PageColors] = {}  # by the page's place in the file
        kept: list[Any] = []
        for page in levels:
            try:
                self.colors[page.offset] = colors_of(page, bits)
            except RefusedColorsError:
                if not kept:
                    raise
            else:
                kept.append(page)
        return kept

    def colors_at(self, level: int) -> PageColors:
        """How a level's samples become RGB."""
        return self.colors[self.levels[level].offset]

    def _check_numbers(self) -> None:
        """What libraries divide by, and compare, is one number each."""
        for page in self.levels:
            sides = [page.imagewidth, page.imagelength, page.samplesperpixel, page.compression]
            sides += [page.tilewidth, page.tilelength] if page.is_tiled else []
            if not all(isinstance(side, int) and side > 0 for side in sides):
                raise DamagedFileError(f"a page says that its sides and its compression are {str(sides)[:100]}")
            counts = {len(page.dataoffsets), len(page.databytecounts)}
            if self.file.is_svs and page.is_tiled and counts != {self.colors[page.offset].n_planes * n_tiles(page)}:
                raise DamagedFileError("its tiles do not cover its levels")  # OpenSlide would divide by zero

    def _check_extents(self) -> None:
        """Native readers notice a missing end late, or print; NDPI has offsets of its own kind and is left to them."""
        if self.file.is_ndpi:
            raise WrongReaderError("NDPI is for OpenSlide")
        for page in self.levels:
            n_planes = self.colors[page.offset].n_planes
            if page.is_tiled and len(page.dataoffsets) != n_planes * n_tiles(page):
                raise WrongReaderError("its tiles do not cover its levels")
        size = self.file.filehandle.size
        ends = [max(map(sum, zip(page.dataoffsets, page.databytecounts, strict=True))) for page in self.levels]
        if max(ends) > size:
            raise DamagedFileError(f"its tiles reach to byte {max(ends)}, but it ends at {size}")
        _ = len(self.file.pages)  # follows the chain of pages to its end
        place = self.file.pages.next_page_offset
        self.file.filehandle.seek(place or 0)
        following = self.file.filehandle.read(self.file.tiff.offsetsize)
        if place and int.from_bytes(following, "little" if self.file.byteorder == "<" else "big"):
            raise DamagedFileError("its chain of pages is broken")

    def insist_on_first(self, reader: str) -> None:
        """Make sure that the slide is what a reader reads that knows a file's first image alone.

        Raises:
            WrongReaderError: it is not.
        """
        if self.levels[0].offset != self.file.pages.first.offset:
            raise WrongReaderError(f"{reader} reads the first image of a TIFF, and the slide is {self.image}")

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """(width, height) of each level."""
        return [(page.imagewidth, page.imagelength) for page in self.levels]

    def tiles_in(self, x: int, y: int, width: int, height: int, level: int) -> list[tuple[int, int]]:
        """(column, row) of the tiles that a rectangle of a tiled level touches."""
        page = self.levels[level]
        return [
            (column, row)
            for row in range(y // page.tilelength, -(-(y + height) // page.tilelength))
            for column in range(x // page.tilewidth, -(-(x + width) // page.tilewidth))
        ]

    def left_out(self, x: int, y: int, width: int, height: int, level: int) -> list[Box]:
        """Boxes (left, top, right, bottom) in px of the level of tiles that the file leaves out.

        Raises:
            ValueError: a tile under the rectangle is damaged.
        """
        page = self.levels[level]
        boxes = []
        for column, row in self.tiles_in(x, y, width, height, level):
            if self.tile(column, row, level, is_wanted=False) is None:
                left, top = column * page.tilewidth, row * page.tilelength
                boxes.append((left, top, left + page.tilewidth, top + page.tilelength))
        return boxes

    def left_out_tiles(self, level: int) -> NDArray[np.int64]:
        """Boxes of all tiles that the file leaves out of a level, as :meth:`left_out` gives them, [n, 4]."""
        page = self.levels[level]
        if not page.is_tiled or min(page.databytecounts) > 0:
            return np.empty((0, 4), np.int64)
        empty = np.flatnonzero(np.asarray(page.databytecounts[: n_tiles(page)]) == 0)
        rows, columns = np.divmod(empty, -(-page.imagewidth // page.tilewidth))
        corners = np.stack([columns * page.tilewidth, rows * page.tilelength], 1)
        ends = np.minimum(corners + (page.tilewidth, page.tilelength), (page.imagewidth, page.imagelength))
        return np.concatenate([corners, ends], 1).astype(np.int64)

    def tile_bytes(self, level: int) -> int:
        """Bytes of the px of a tile, without compression."""
        page = self.levels[level]
        samples = page.samplesperpixel // self.colors_at(level).n_planes
        return int(page.tilewidth * page.tilelength * samples * page.bitspersample // 8)

    def tile_index(self, column: int, row: int, level: int) -> int:
        """Number of a tile in the file's tables; those of further planes follow at steps of :func:`n_tiles`."""
        page = self.levels[level]
        return int(row * -(-page.imagewidth // page.tilewidth) + column)

    def tile(self, column: int, row: int, level: int, *, plane: int = 0, is_wanted: bool = True) -> bytes | None:
        """A tile as it lies in the file, None where the file leaves it out.

        Args:
            column, row, level: which one.
            plane: of which sample, where each has tiles of its own.
            is_wanted: all of it; else as much as it takes to judge it.

        Raises:
            ValueError: it is damaged.
        """
        page, index = self.levels[level], self.tile_index(column, row, level)
        index += plane * n_tiles(page) if plane else 0
        offset, size = page.dataoffsets[index], page.databytecounts[index]
        if size == 0:
            return None
        is_whole = is_wanted or page.compression == JPEG
        n_bytes = size if is_whole else min(size, len(_JPEG2000_START))
        data = os.pread(self.file.filehandle.fileno(), n_bytes, offset)
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
        self.file.close()


def n_tiles(page: Any) -> int:
    """Tiles that cover a tiled page once."""
    return int(-(-page.imagewidth // page.tilewidth) * -(-page.imagelength // page.tilelength))
