"""The levels of a tiled TIFF, and where its tiles lie."""

from pathlib import Path
from typing import Any

import tifffile

from .backend import Resolution, WrongReaderError, mpp_of_description, mpp_of_tags


class TiffPages:
    """Pages of the pyramid in a TIFF or SVS file, finest first.

    Args:
        path: the file.

    Raises:
        WrongReaderError: it is no TIFF, or its first page is no RGB image of 8 bits.
    """

    def __init__(self, path: Path) -> None:
        try:
            self.file = tifffile.TiffFile(path)
            first = self.file.series[0]
            self.levels: list[Any] = [level.keyframe for level in first.levels]
        except (tifffile.TiffFileError, OSError, IndexError, ValueError, KeyError, RuntimeError) as error:
            raise WrongReaderError(str(error) or type(error).__name__) from error
        page = self.levels[0]
        if page.samplesperpixel not in (3, 4) or page.bitspersample != 8 or page.planarconfig != 1:
            self.file.close()
            raise WrongReaderError(
                f"an image of {page.samplesperpixel} channels with {page.bitspersample} bits is no RGB slide"
            )
        if len(self.levels) == 1:
            self.levels += self._loose_levels(page)

    def _loose_levels(self, first: Any) -> list[Any]:
        """Smaller pages of the same shape that the file does not declare as a pyramid."""
        found = []
        for page in self.file.pages[1:]:
            page = page.aspage() if hasattr(page, "aspage") else page
            ratio = first.imagewidth / page.imagewidth
            is_scaled = page.is_tiled and ratio > 1.5 and abs(first.imagelength / page.imagelength / ratio - 1) < 0.01
            if is_scaled and page.samplesperpixel == first.samplesperpixel:
                found.append(page)
        return sorted(found, key=lambda page: -page.imagewidth)

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """(width, height) of each level."""
        return [(page.imagewidth, page.imagelength) for page in self.levels]

    @property
    def mpp(self) -> Resolution | None:
        """um/px of the finest level, where the file names it."""
        description = str(self.levels[0].description or "")
        ome = self.file.ome_metadata if self.file.is_ome else None
        return mpp_of_description(ome or description) or mpp_of_tags(self.levels[0].tags)

    def tiles_in(self, x: int, y: int, width: int, height: int, level: int) -> list[tuple[int, int, int]]:
        """(index, column, row) of the tiles that a rectangle of a tiled level touches."""
        page = self.levels[level]
        columns = -(-page.imagewidth // page.tilewidth)
        return [
            (row * columns + column, column, row)
            for row in range(y // page.tilelength, -(-(y + height) // page.tilelength))
            for column in range(x // page.tilewidth, -(-(x + width) // page.tilewidth))
        ]
