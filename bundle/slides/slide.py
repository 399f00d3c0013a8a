"""One interface to a slide, whoever reads it: any rectangle at any resolution."""

import math
import weakref
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from ..core import SlideError, insist_on_wanted
from .backend import Backend
from .images import SLIDE
from .missing_tiles import nowhere
from .resample import downsample, reduced, resampled, whole_factor
from .tile_patches import Placement, TilePatches

_MPP_TOLERANCE = 0.02
_MAX_BLOCK_PX = 4096


class Slide:
    """A slide at hand. Several threads may call :meth:`read` at once: no reader here keeps state between reads.

    Attributes:
        slide_id, path, reader: its name, file, and the library that reads it.
        images, image: what its file holds, and the one of that which is read.
        section: which of several sections of the file, None where it holds one.
        width, height: px of level 0.
        mpp: um/px of level 0.
        mpp_source: who says so: ``MPP_FROM_TABLE``, ``MPP_FROM_FILE`` or ``MPP_FROM_DEFAULT``.
        close: call it to close the file, which closes by itself when nobody holds the slide any more.
        level_downsamples: level-0 px a px of each level; 1 for the first.
        aspect: level-0 px, in x and y, that are made of one of the file's; 1 and 1 but for a slide of oblong px.
        icc_profile: its color profile by name and contents, for the record: colors are left as they are.
        scanned_from: level-0 px (x, y) where what was scanned begins, if the file says so; QuPath counts from there.
    """

    def __init__(self, backend: Backend, path: Path, slide_id: str, mpp: float, mpp_source: str) -> None:
        self._backend = backend
        self.path, self.slide_id, self.mpp, self.mpp_source = path, slide_id, mpp, mpp_source
        self.reader, self.aspect, self.icc_profile = backend.name, backend.aspect, backend.icc_profile
        self.scanned_from = backend.scanned_from
        self.images, self.image = list(backend.images), backend.image
        sections = [image for image in self.images if image.role == SLIDE]
        self.section = sections.index(self.image) if len(sections) > 1 else None
        self.width, self.height = backend.level_sizes[0]
        self.level_downsamples = [downsample(backend.level_sizes[0], size) for size in backend.level_sizes]
        self.close = weakref.finalize(self, backend.close)
        self.close.atexit = False

    def read(
        self, x: float, y: float, width_px: int, height_px: int, mpp: float, *, mpp_tolerance: float = _MPP_TOLERANCE
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """A rectangle at a resolution.

        It is read from the coarsest level that is at least as fine, and reduced with an area-weighted filter; a level
        within the tolerance is taken as it is. Where the slide has no such level, its finest is enlarged.

        Args:
            x, y: top-left corner in level-0 px; may lie outside the slide, or between px.
            width_px, height_px: size in px of ``mpp``.
            mpp: um/px.
            mpp_tolerance: relative.

        Returns:
            RGB uint8 [height_px, width_px, 3], white outside the slide, and bool [height_px, width_px]: inside it.

        Raises:
            SlideError: the rectangle does not decode.
        """
        insist_on_wanted()
        level = self._level_for(mpp, mpp_tolerance)
        scale = self.read_mpp(mpp, mpp_tolerance) / self.mpp
        columns, rows = _inside(x, width_px, scale, self.width), _inside(y, height_px, scale, self.height)
        picture = np.full((height_px, width_px, 3), 255, np.uint8)
        inside = np.zeros((height_px, width_px), bool)
        if columns[0] < columns[1] and rows[0] < rows[1]:
            window = slice(*rows), slice(*columns)
            picture[window] = self._read_inside(x, y, columns, rows, scale, level)
            inside[window] = True
        return picture, inside

    def read_patches(
        self,
        x: float,
        y: float,
        cells: NDArray[np.intp],
        patch_size: int,
        mpp: float,
        out: NDArray[np.uint8],
        *,
        n_threads: int = 1,
    ) -> None:
        """Square parts of a rectangle as :meth:`read` would give it, without decoding what lies between them.

        Tiles go straight into the patches where the file has tiles and ``mpp`` is a level's or a whole multiple of it.
        Otherwise the rectangle around the patches is read and cut up.

        Args:
            x, y: level-0 px at which patch (0, 0) begins.
            cells: row and column of each patch, at least 0, [n, 2]; n at least 1.
            patch_size: px of ``mpp`` on a patch's side, p.
            mpp: um/px.
            out: uint8 [n, p, p, 3], filled.
            n_threads: tiles decoded at a time.

        Raises:
            SlideError: a patch does not decode.
        """
        insist_on_wanted()
        n_rows, n_columns = (cells.max(0) + 1).tolist()
        placement = self._placement(x, y, n_columns * patch_size, n_rows * patch_size, mpp)
        if placement is None or not TilePatches.fit(self._backend, placement):
            picture, _ = self.read(x, y, n_columns * patch_size, n_rows * patch_size, mpp)
            parts = picture.reshape(n_rows, patch_size, n_columns, patch_size, 3).swapaxes(1, 2)
            for patch, (row, column) in enumerate(cells):
                out[patch] = parts[row, column]
            return
        try:
            TilePatches(self._backend, placement, patch_size).read(cells, out, n_threads)
        except Exception as error:  # on damaged files the libraries raise whatever they stumble over
            where = f"{len(cells)} patches of {patch_size} px from ({x:g}, {y:g}) on"
            raise self._undecodable(where, error) from error

    def patch_decoder(self, mpp: float) -> str:
        """The library that decodes in :meth:`read_patches`: the reader, or one that gives the same px sooner."""
        level, factor = self._level_for(mpp, _MPP_TOLERANCE), self._whole_factor(mpp)
        return self._backend.tile_decoder(level) if factor and self._backend.tile_size(level) else self.reader

    def nowhere(self, mpp: float, shape: tuple[int, int] = (1024, 1024)) -> tuple[NDArray[np.bool_], int]:
        """What cannot be read at ``mpp``, as the file has tiles there in no level that is fine enough.

        Args:
            mpp: um/px.
            shape: rows and columns of the answer, which covers the slide.

        Returns:
            bool [*shape], and how many tiles of the level that is read are missing, each in part at least.
        """
        return nowhere(self._backend, self._level_for(mpp, _MPP_TOLERANCE), shape)

    def _whole_factor(self, mpp: float) -> int:
        """Px of the level that is read along one of ``mpp``, 0 if they are no whole number."""
        scale = self.read_mpp(mpp) / self.mpp
        downsample = self.level_downsamples[self._level_for(mpp, _MPP_TOLERANCE)]
        return 1 if math.isclose(scale, downsample, rel_tol=1e-9) else whole_factor(scale / downsample)

    def _placement(self, x: float, y: float, width_px: int, height_px: int, mpp: float) -> Placement | None:
        """How target pixels lie on those of a level; None where they have to be interpolated."""
        level, factor = self._level_for(mpp, _MPP_TOLERANCE), self._whole_factor(mpp)
        if not factor:
            return None
        size, downsample = self._backend.level_sizes[level], self.level_downsamples[level]
        scale = self.read_mpp(mpp) / self.mpp
        starts: list[int] = []
        spans: list[tuple[int, int]] = []
        for corner, n_px, extent, limit in ((x, width_px, self.width, size[0]), (y, height_px, self.height, size[1])):
            first, end = _inside(corner, n_px, scale, extent)
            start = _nearest((corner + first * scale) / downsample)
            if factor == 1:
                start = min(max(start, 0), limit - (end - first))
            if start < 0 or start + (end - first) * factor - limit >= factor:
                return None  # pixels that lie on no tile at all
            starts.append(start - first * factor)
            spans.append((first, end))
        return Placement(level, factor, starts[0], starts[1], spans[0], spans[1])

    def read_mpp(self, mpp: float, mpp_tolerance: float = _MPP_TOLERANCE) -> float:
        """um/px that :meth:`read` really gives for ``mpp``: that of a level within the tolerance, else ``mpp``."""
        level_mpp = self.mpp * self.level_downsamples[self._level_for(mpp, mpp_tolerance)]
        return level_mpp if abs(level_mpp / mpp - 1) <= mpp_tolerance else mpp

    def _level_for(self, mpp: float, tolerance: float) -> int:
        fine = [i for i, d in enumerate(self.level_downsamples) if self.mpp * d <= mpp * (1 + tolerance)]
        return max(fine, key=lambda i: self.level_downsamples[i]) if fine else 0

    def _read_inside(
        self, x: float, y: float, columns: tuple[int, int], rows: tuple[int, int], scale: float, level: int
    ) -> NDArray[np.uint8]:
        """Target pixels [rows, columns], all of which have their middle inside the slide."""
        size, downsample = self._backend.level_sizes[level], self.level_downsamples[level]
        size_px = (columns[1] - columns[0], rows[1] - rows[0])
        corner = [(start + span[0] * scale) / downsample for start, span in ((x, columns), (y, rows))]
        if math.isclose(scale, downsample, rel_tol=1e-9):
            left, top = (min(max(_nearest(c), 0), limit - n) for c, limit, n in zip(corner, size, size_px, strict=True))
            if left >= 0 and top >= 0:
                return self._decode(left, top, *size_px, level)
        factor = scale / downsample
        whole = whole_factor(factor)
        margin = 0 if whole else math.ceil(max(factor, 1.0))
        if whole:
            corner = [_nearest(c) for c in corner]
        first = [math.floor(c) for c in corner]
        last = [math.ceil(c + n * factor - 1e-6) for c, n in zip(corner, size_px, strict=True)]
        left, top = (max(start - margin, 0) for start in first)
        right, bottom = (min(end + margin, limit) for end, limit in zip(last, size, strict=True))
        raw = self._decode(left, top, right - left, bottom - top, level)
        # half of a pixel at the slide's border may lie outside: the border's color goes on
        beyond = (max(-first[1], 0), max(last[1] - size[1], 0)), (max(-first[0], 0), max(last[0] - size[0], 0)), (0, 0)
        raw = np.pad(raw, beyond, "edge") if any(map(any, beyond)) else raw
        if whole:
            return reduced(raw, whole)
        x0, y0 = corner[0] - left + beyond[1][0], corner[1] - top + beyond[0][0]
        return resampled(raw, size_px, (x0, y0, x0 + size_px[0] * factor, y0 + size_px[1] * factor))

    def _decode(self, x: int, y: int, width: int, height: int, level: int) -> NDArray[np.uint8]:
        try:
            found = self._backend.read(x, y, width, height, level)
            if found.shape != (height, width, 3):
                raise ValueError(f"what came is {' x '.join(map(str, found.shape[1::-1]))} px")
            return found
        except Exception as error:  # on damaged files the libraries raise whatever they stumble over
            raise self._undecodable(f"{width} x {height} px at ({x}, {y}) of level {level}", error) from error

    def _undecodable(self, what: str, error: Exception) -> SlideError:
        return SlideError(
            f"slide {self.slide_id} ({self.path.name}): {self.reader} cannot decode {what}: {error}. "
            "Copy or scan it again, or leave it out."
        )

    def thumbnail(self, mpp: float = 16.0, max_px: int = 4096) -> tuple[NDArray[np.uint8], float]:
        """The whole slide, RGB uint8 [h, w, 3], and its um/px: ``mpp``, or coarser where it would pass ``max_px``.

        Raises:
            SlideError: a part does not decode.
        """
        mpp = max(mpp, self.mpp, max(self.width, self.height) * self.mpp / max_px)
        scale = mpp / self.mpp
        width, height = max(1, round(self.width / scale)), max(1, round(self.height / scale))
        picture = np.full((height, width, 3), 255, np.uint8)
        level_mpp = self.mpp * self.level_downsamples[self._level_for(mpp, 0.0)]
        block = max(16, int(_MAX_BLOCK_PX * level_mpp / mpp))
        for top in range(0, height, block):
            for left in range(0, width, block):
                size = min(block, width - left), min(block, height - top)
                corner = round(left * scale), round(top * scale)
                picture[top : top + size[1], left : left + size[0]] = self.read(*corner, *size, mpp, mpp_tolerance=0)[0]
        return picture, mpp

    def __enter__(self) -> "Slide":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _nearest(place: float) -> int:
    """Rounded, halves always upward, so that neighbors keep their distance."""
    return math.floor(place + 0.5 + 1e-9)


def _inside(corner: float, n_px: int, scale: float, limit: int) -> tuple[int, int]:
    """First and one-past-last target pixel whose middle lies inside [0, limit) of level 0."""
    first = math.ceil(-corner / scale - 0.5 - 1e-9)
    end = math.ceil((limit - corner) / scale - 0.5 - 1e-9)
    return min(max(first, 0), n_px), min(max(end, 0), n_px)
