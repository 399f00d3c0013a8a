"""Cells of a raster to polygons around them."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Ring = list[tuple[int, int]]


def cell_polygons(cells: NDArray[np.bool_]) -> list[list[Ring]]:
    """Outline the cells: one polygon for each set of cells that share sides.

    Rings close (the last corner is the first), keep only corners where they turn and pass no corner twice. Cells that
    meet at a corner only belong to different polygons.

    Args:
        cells: bool [rows, columns].

    Returns:
        Polygons as rings of corners (column, row), counted in cells: the exterior first, with positive area (counter-
        clockwise where y points up, as RFC 7946 wants it), then holes, with negative area.
    """
    labels, _ = ndimage.label(cells)
    polygons = []
    for label, window in enumerate(ndimage.find_objects(labels), start=1):
        top, left = window[0].start, window[1].start
        rings = _rings(labels[window] == label)
        rings.sort(key=signed_area, reverse=True)
        polygons.append([[(x + left, y + top) for x, y in ring] for ring in rings])
    return polygons


def signed_area(ring: Ring) -> float:
    """Area of a closed ring; negative where it runs clockwise with y upward."""
    corners = np.asarray(ring, np.float64)
    return float((corners[:-1, 0] * corners[1:, 1] - corners[1:, 0] * corners[:-1, 1]).sum() / 2)


def _rings(cells: NDArray[np.bool_]) -> list[Ring]:
    """All borders of cells, with the cells on one side throughout."""
    following: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    framed = np.pad(cells, 1)
    for (row_step, column_step), (start, end) in _SIDES.items():
        beyond = np.roll(framed, (-row_step, -column_step), (0, 1))
        for row, column in np.argwhere(framed & ~beyond) - 1:
            following[(column + start[0], row + start[1])].append((column + end[0], row + end[1]))
    rings = []
    while following:
        rings += _simple_parts(_walk(following))
    return [_corners_only(ring) for ring in rings]


# neighbor (row, column) -> border towards it as (column, row) steps from the cell's corner, x to the right, y down
_SIDES = {(-1, 0): ((0, 0), (1, 0)), (0, 1): ((1, 0), (1, 1)), (1, 0): ((1, 1), (0, 1)), (0, -1): ((0, 1), (0, 0))}


def _walk(following: dict[tuple[int, int], list[tuple[int, int]]]) -> Ring:
    """Take a closed way out of the borders."""
    here = next(iter(following))
    way = [here]
    while here in following:
        ends = following[here]
        there = ends.pop()
        if not ends:
            del following[here]
        way.append(there)
        here = there
    return way


def _simple_parts(way: Ring) -> list[Ring]:
    """Cut a closed way where it passes a corner again."""
    parts, open_way, place = [], [], {}  # type: ignore[var-annotated]
    for corner in way:
        if corner in place:
            first = place[corner]
            parts.append([*open_way[first:], corner])
            for left in open_way[first + 1 :]:
                del place[left]
            open_way = open_way[: first + 1]
        else:
            place[corner] = len(open_way)
            open_way.append(corner)
    return parts


def _corners_only(ring: Ring) -> Ring:
    corners = np.asarray(ring[:-1])
    turns = ((corners - np.roll(corners, 1, 0)) != (np.roll(corners, -1, 0) - corners)).any(1)
    kept = [(int(x), int(y)) for x, y in corners[turns]]
    return [*kept, kept[0]]
