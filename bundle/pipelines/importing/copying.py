"""Features from where they lie to the regions of a token file, in memory that does not grow with the slide."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...storage import TokenFileWriter

_BUDGET_BYTES = 192 << 20  # of regions at once; a slide with more is read in several passes over parts of its file
_BLOCK_BYTES = 8 << 20  # of one read
_GAP_ROWS = 64  # rows in between that are read along rather than skipped


def copy_features(source: Any, rows: NDArray[np.int64], writer: TokenFileWriter) -> list[int]:
    """Write every region; the rows that are not finite, whose cells stay zero.

    Regions are taken in the order in which their rows lie in the file, as many at once as a fixed amount of memory
    holds, and their rows are read in runs.

    Args:
        source: [N, D], sliced by rows.
        rows: [R, P, P], the row in each cell; -1 where there is none.
        writer: open, of these regions.
    """
    dim = source.shape[1]
    region_nbytes = rows[0].size * dim * writer.dtype.itemsize
    order = np.argsort(np.where(rows < 0, np.iinfo(np.int64).max, rows).min((1, 2)), kind="stable")
    n_each = max(1, _BUDGET_BYTES // region_nbytes)
    bad: list[int] = []
    for start in range(0, len(order), n_each):
        group = order[start : start + n_each]
        grids = np.zeros((*rows[group].shape, dim), writer.dtype)
        bad += _fill(grids.reshape(-1, dim), source, rows[group].ravel())
        for region, grid in zip(group, grids, strict=True):
            writer.write(int(region), grid)
    return bad


def _fill(cells: NDArray[Any], source: Any, rows: NDArray[np.int64]) -> list[int]:
    """Copy each cell's row; the rows that are not finite are left out."""
    places = np.flatnonzero(rows >= 0)
    places = places[np.argsort(rows[places], kind="stable")]
    wanted, bad = rows[places], []
    for first, last in _runs(wanted, max(1, _BLOCK_BYTES // (cells.shape[1] * 4))):
        start, stop = int(wanted[first]), int(wanted[last - 1]) + 1
        part = source[slice(start, stop)]
        chosen = part if last - first == stop - start else part[wanted[first:last] - start]
        is_good = np.isfinite(chosen).all(1)
        targets = places[first:last]
        if not is_good.all():
            bad += wanted[first:last][~is_good].tolist()
            chosen, targets = chosen[is_good], targets[is_good]
        with np.errstate(over="ignore"):  # the writer says which region does not fit
            cells[targets] = chosen
    return bad


def _runs(wanted: NDArray[np.int64], most: int) -> Iterator[tuple[int, int]]:
    """Pieces of sorted row numbers without long gaps, each spanning at most ``most`` rows."""
    cuts = np.flatnonzero(np.diff(wanted) > _GAP_ROWS) + 1
    for first, last in zip([0, *cuts.tolist()], [*cuts.tolist(), len(wanted)], strict=True):
        while first < last:
            stop = first + int(np.searchsorted(wanted[first:last], wanted[first] + most))
            yield first, stop
            first = stop
