"""Outlines of cells: what they enclose is exactly the cells."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from bundle.explore.maps.polygons import cell_polygons, signed_area

RING = [[1, 1, 1, 0], [1, 0, 1, 0], [1, 1, 1, 1]]
PINCHED = [[1, 1, 1, 1], [1, 0, 1, 1], [1, 1, 0, 1], [1, 1, 1, 1]]  # two holes that touch at a corner
OUTSIDE = [[1, 1, 0, 0], [1, 0, 1, 1], [1, 1, 1, 1]]  # a hole that touches the outside at a corner
DIAGONAL = [[1, 0], [0, 1]]


def filled(polygons, shape, scale=8):
    """The polygons drawn large, each cell's middle read back."""
    canvas = Image.new("1", (shape[1] * scale, shape[0] * scale))
    draw = ImageDraw.Draw(canvas)
    for rings in polygons:
        for ring in rings:
            fill = int(signed_area(ring) > 0)
            draw.polygon([(x * scale, y * scale) for x, y in ring], fill=fill, outline=fill)
    return np.asarray(canvas)[scale // 2 :: scale, scale // 2 :: scale]


@pytest.mark.parametrize("seed", range(6))
def test_random_cells_come_back(seed):
    """Areas add up to the number of cells, and filling the polygons gives the cells again."""
    cells = np.random.default_rng(seed).random((13, 17)) < 0.3 + 0.1 * seed
    polygons = cell_polygons(cells)
    assert sum(signed_area(ring) for rings in polygons for ring in rings) == cells.sum()
    np.testing.assert_array_equal(filled(polygons, cells.shape), cells)
    for rings in polygons:
        assert [signed_area(ring) > 0 for ring in rings] == [True] + [False] * (len(rings) - 1)
        for ring in rings:
            assert ring[0] == ring[-1] and len(set(ring)) == len(ring) - 1, "a ring passes a corner twice"


@pytest.mark.parametrize(
    ("cells", "n_rings"), [(RING, [2]), (PINCHED, [3]), (OUTSIDE, [2]), (DIAGONAL, [1, 1]), (np.zeros((3, 3)), [])]
)
def test_holes_and_touching_corners(cells, n_rings):
    """A hole is a ring of its own, also where it touches another or the outside; a shared corner joins nothing."""
    assert [len(rings) for rings in cell_polygons(np.array(cells, bool))] == n_rings


def test_straight_sides_have_no_corners_in_between():
    """A rectangle of any size has four."""
    assert cell_polygons(np.ones((3, 5), bool)) == [[[(0, 0), (5, 0), (5, 3), (0, 3), (0, 0)]]]
