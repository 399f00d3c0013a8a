"""Tiles to patches: each tile is decoded once, only where a patch wants it, and straight into the patches."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .backend import Backend
from .resample import reduced

Span = tuple[int, int]
Picture = NDArray[np.uint8]


class Placement(NamedTuple):
    """How a rectangle of target pixels lies on the pixels of a level.

    Attributes:
        level: the level.
        factor: px of the level along a target pixel's side, a whole number.
        left, top: px of the level at which target pixel (0, 0) begins; may be negative.
        columns, rows: target pixels, first and one past the last, that lie on the slide; others are white.
    """

    level: int
    factor: int
    left: int
    top: int
    columns: Span
    rows: Span


class _Cut(NamedTuple):
    """What one tile gives to one patch, along one axis."""

    tile: int
    of_patch: slice
    of_tile: slice  # of the tile as it is after its reduction


class _Piece(NamedTuple):
    """What one tile gives to one patch."""

    patch: int
    across: _Cut
    down: _Cut


_Job = tuple[Span, list[_Piece]]


class TilePatches:
    """Fills patches from the tiles of one level.

    Args:
        backend: the file.
        placement: of a region; :meth:`fit` tells whether it will do.
        patch_size: target px p on a patch's side.
    """

    def __init__(self, backend: Backend, placement: Placement, patch_size: int) -> None:
        size = backend.tile_size(placement.level)
        assert size is not None
        self.backend, self.placement, self.patch_size = backend, placement, patch_size
        self.tile_size, self.level_size = size, backend.level_sizes[placement.level]

    @staticmethod
    def fit(backend: Backend, placement: Placement) -> bool:
        """Whether the level has tiles, and no target pixel lies on two of them."""
        size = backend.tile_size(placement.level)
        return size is not None and not any(n % placement.factor for n in (*size, placement.left, placement.top))

    def read(self, cells: NDArray[np.intp], out: Picture, n_threads: int = 1) -> None:
        """Fill the patches of some cells of the region.

        Args:
            cells: row and column of each, counted in patches from target pixel (0, 0), [n, 2].
            out: uint8 [n, p, p, 3].
            n_threads: tiles decoded at a time.

        Raises:
            ValueError, RuntimeError: a tile is damaged.
        """
        jobs = deque(self._plan(cells, out).items())
        n_threads = min(n_threads, len(jobs))
        if n_threads <= 1:
            self._work(jobs, out)
            return
        with ThreadPoolExecutor(n_threads, thread_name_prefix="decode") as pool:
            for worker in [pool.submit(self._work, jobs, out) for _ in range(n_threads)]:
                worker.result()

    def _plan(self, cells: NDArray[np.intp], out: Picture) -> dict[Span, list[_Piece]]:
        """What each tile (column, row) gives; patches that reach beyond the slide are made white before."""
        p, placed = self.patch_size, self.placement
        across = {c: self._cuts(c, placed.columns, placed.left, self.tile_size[0]) for c in set(cells[:, 1].tolist())}
        down = {r: self._cuts(r, placed.rows, placed.top, self.tile_size[1]) for r in set(cells[:, 0].tolist())}
        pieces: dict[Span, list[_Piece]] = {}
        for patch, (row, column) in enumerate(cells.tolist()):
            if not all(_length(cuts) == p for cuts in (across[column], down[row])):
                out[patch] = 255
            for y in down[row]:
                for x in across[column]:
                    pieces.setdefault((x.tile, y.tile), []).append(_Piece(patch, x, y))
        return pieces

    def _cuts(self, cell: int, inside: Span, start: int, tile: int) -> list[_Cut]:
        """A row or column of patches, cut at the borders of tiles."""
        factor, first = self.placement.factor, cell * self.patch_size
        place, end = max(first, inside[0]), min(first + self.patch_size, inside[1])
        cuts = []
        while place < end:
            index, within = divmod(start + place * factor, tile)
            n = min((tile - within) // factor, end - place)
            within //= factor
            cuts.append(_Cut(index, slice(place - first, place - first + n), slice(within, within + n)))
            place += n
        return cuts

    def _work(self, jobs: deque[_Job], out: Picture) -> None:
        """Do what is left to do; several threads do so at once. An error ends the work of all."""
        tile = np.empty((*self.tile_size[::-1], 3), np.uint8)
        try:
            while (job := _next(jobs)) is not None:
                self._fill(*job, tile, out)
        except BaseException:
            jobs.clear()
            raise

    def _fill(self, place: Span, pieces: list[_Piece], tile: Picture, out: Picture) -> None:
        """Decode one tile, into its patch or by way of ``tile``."""
        (column, row), (level, factor) = place, self.placement[:2]
        is_patch = factor == 1 and _is_all(pieces[0], self.patch_size, self.tile_size)
        target = out[pieces[0].patch] if is_patch else tile
        if not self.backend.read_tile(column, row, level, target):
            target.fill(255)
        if is_patch:
            return
        if factor > 1:
            self._extend(tile, column, row)
            tile = reduced(tile, factor)
        for patch, across, down in pieces:
            out[patch, down.of_patch, across.of_patch] = tile[down.of_tile, across.of_tile]

    def _extend(self, tile: Picture, column: int, row: int) -> None:
        """Let the level's last colors go on to the end of the tile: half of a target pixel may lie beyond the level."""
        width, height = (
            limit - n * i for n, limit, i in zip(self.tile_size, self.level_size, (column, row), strict=True)
        )
        if width < self.tile_size[0]:
            tile[:, width:] = tile[:, width - 1 : width]
        if height < self.tile_size[1]:
            tile[height:] = tile[height - 1 : height]


def _next(jobs: deque[_Job]) -> _Job | None:
    try:
        return jobs.popleft()  # safe for several threads, as asking for its length before would not be
    except IndexError:
        return None


def _is_all(piece: _Piece, patch_size: int, tile_size: Span) -> bool:
    """Whether a tile is a patch, and whole."""
    return tile_size == (patch_size, patch_size) and _length([piece.across]) == _length([piece.down]) == patch_size


def _length(cuts: list[_Cut]) -> int:
    return sum(cut.of_patch.stop - cut.of_patch.start for cut in cuts)
