"""Slides opened by cuCIM: the fastest for tiled TIFF and SVS."""

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core import readable
from .backend import MissingLibraryError, WrongReaderError
from .missing_tiles import filled
from .tiff_backend import TiffBackend
from .tiff_pages import TiffPages
from .tile_decoder import JPEG, JPEG2000, TileDecoder

_READING_THREADS = 2
_opening = threading.Lock()  # cuCIM loads its plugin with the first file; two threads that do so at once may crash


class CucimBackend(TiffBackend):
    """cuCIM for tiles in JPEG and JPEG 2000; other compressions are for the other readers.

    Where a JPEG tile does not decode, cuCIM prints and goes on with garbage, or crashes; where a deflated one does not,
    it ends the process. So tiles are looked at before it sees them. A tile that the file leaves out, which cuCIM makes
    black, is filled from the finer level, or white.

    Rectangles come from cuCIM. A tile for a patch has been read for that look anyway and is decoded on the spot into
    the patches that want it: on the tiles 1.6 times as fast as cuCIM's rectangle, which has to be cut up; off the tiles
    twice as fast as cuCIM's batches, which decode a tile for each patch that it touches. The libraries within are the
    same (libjpeg-turbo, OpenJPEG) and so are the pixels; a level where they are not is left to cuCIM.
    """

    name = "cucim"

    def __init__(self, path: Path, section: int | None = None) -> None:
        super().__init__(path, section)
        try:
            self._image = _opened(path, self._pages)
            self._match_levels()
        except WrongReaderError:
            self._pages.close()
            raise
        self._decoders: dict[int, TileDecoder | None] = {}

    def _match_levels(self) -> None:
        """Pair cuCIM's levels with the file's pages, by size."""
        resolutions = self._image.resolutions
        sizes = [tuple(size) for size in resolutions["level_dimensions"]]
        if self._image.dims != "YXC" or sizes[0] != self._pages.sizes[0]:
            raise WrongReaderError(f"cuCIM sees {self._image.dims} {sizes[0]}, the file says {self._pages.sizes[0]}")
        by_size = dict(zip(self._pages.sizes, self._pages.levels, strict=True))
        self._indices = [index for index, size in enumerate(sizes) if size in by_size]
        self._downsamples = [resolutions["level_downsamples"][index] for index in self._indices]
        self.level_sizes = [sizes[index] for index in self._indices]
        self._pages.levels = [by_size[size] for size in self.level_sizes]

    def read(self, x: int, y: int, width: int, height: int, level: int) -> NDArray[np.uint8]:
        """See :class:`Backend`."""
        left_out = self._pages.left_out(x, y, width, height, level)
        return filled(self._rectangle(x, y, width, height, level), self, x, y, level, left_out)

    def _rectangle(self, x: int, y: int, width: int, height: int, level: int) -> NDArray[np.uint8]:
        """What cuCIM makes of it."""
        downsample = self._downsamples[level]
        # cuCIM takes a corner in level-0 px and truncates: aim at the middle of the wanted pixel
        location = (x, y) if level == 0 else (int((x + 0.5) * downsample), int((y + 0.5) * downsample))
        n_threads = _READING_THREADS if width * height > 1 << 20 else 1
        found = self._image.read_region(location, (width, height), self._indices[level], num_workers=n_threads)
        return np.asarray(found)[..., :3]

    def _own_tile(self, data: bytes, column: int, row: int, level: int, out: NDArray[np.uint8]) -> NDArray[np.uint8]:
        x, y = column * out.shape[1], row * out.shape[0]
        width, height = self.level_sizes[level]
        part = out[: height - y, : width - x]
        part[:] = self._rectangle(x, y, part.shape[1], part.shape[0], level)
        return part

    def _decoder_of(self, level: int) -> TileDecoder | None:
        """A decoder of the level's tiles that agrees with cuCIM to the bit, if there is one; tried on its largest tile.

        Writers differ in how they say that a tile holds RGB or YCbCr, readers in whom they believe; and JPEG 2000 with
        YCbCr in its tiles (33003) is turned into RGB by cuCIM alone.
        """
        if level not in self._decoders:  # two threads may find out at once, the same
            page = self._pages.levels[level]
            decoder = TileDecoder(page) if TileDecoder.fits(page) else None
            self._decoders[level] = decoder if decoder is not None and self._agrees(decoder, level) else None
        return self._decoders[level]

    def _agrees(self, decoder: TileDecoder, level: int) -> bool:
        page = self._pages.levels[level]
        row, column = divmod(int(np.argmax(page.databytecounts)), -(-page.imagewidth // page.tilewidth))
        ours, cucims = np.empty((2, page.tilelength, page.tilewidth, 3), np.uint8)
        try:
            data = self._pages.tile(column, row, level)
            if data is None:
                return False
            decoder.decode(data, ours)
            part = self._own_tile(data, column, row, level, cucims)
        except (RuntimeError, ValueError):  # damaged: let cuCIM read the sound tiles
            return False
        return np.array_equal(part, ours[: part.shape[0], : part.shape[1]])

    def close(self) -> None:
        """Close the file."""
        self._image.close()
        super().close()


def _opened(path: Path, pages: TiffPages) -> Any:
    """The file as a ``CuImage``, if cuCIM reads it well."""
    pages.insist_on_first("cuCIM")
    if not all(page.is_tiled for page in pages.levels):
        raise WrongReaderError("cuCIM reads tiled files")
    if not all(colors.is_plain for colors in pages.colors.values()):
        raise WrongReaderError("cuCIM is asked for RGB of 8 bits, three samples side by side")
    if readable(str(path)) != str(path):
        raise WrongReaderError("cuCIM takes names in UTF-8 alone")
    kinds = {int(page.compression) for page in pages.levels} - {JPEG, *JPEG2000}
    if kinds:
        raise WrongReaderError(f"cuCIM is asked for JPEG and JPEG 2000 alone, not for TIFF compression {kinds.pop()}")
    os.environ.setdefault("ENABLE_CUSLIDE2", "0")  # silences a plugin that needs a GPU
    try:
        from cucim import CuImage  # type: ignore[attr-defined,unused-ignore]
    except ImportError as error:
        raise MissingLibraryError(f"cuCIM cannot be imported ({error})") from error
    try:
        with _opening:
            return CuImage(str(path))
    except (RuntimeError, ValueError) as error:
        raise WrongReaderError(str(error)) from error
