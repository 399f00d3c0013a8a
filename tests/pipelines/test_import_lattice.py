"""Patches find their cells: pitch from coordinates, phases of contours, overlap, gaps."""

import numpy as np
import pytest

from bundle.core import SlideError
from bundle.pipelines.importing.lattice import find_lattice, place
from bundle.pipelines.importing.pitch import derived_pitch, steps_between
from scripts.pins.foreign_features import lattice


def laid(xy, stated=None, patch=None, snap=0.5, min_patches=1):
    """The lattice of patches and their places."""
    xy = np.asarray(xy, float)
    found = find_lattice(xy, stated, patch, "a")
    return found, place(xy, found, 16, snap, min_patches)


def corners(found, placed):
    """Where each patch came to lie, by its number: [N, 2], nan where it was left out."""
    region, row, column = np.nonzero(placed.rows >= 0)
    out = np.full((placed.rows.max() + 1, 2), np.nan)
    out[placed.rows[region, row, column]] = placed.coords[region] + np.stack([column, row], 1) * found.pitch
    return out


@pytest.mark.parametrize("pitch", [224, 511.37, 512, 1126.4])
@pytest.mark.parametrize("origin", [(0, 0), (37, 411)])
def test_pitch_and_phase_are_found(pitch, origin):
    """Of rounded coordinates with holes, whatever the order: every patch lands where it was, to a rounding."""
    cells = lattice(columns=90, rows=40, share=0.5, pitch=1)
    xy = np.rint(cells * pitch + np.array(origin))
    np.random.default_rng(1).shuffle(xy)
    found, placed = laid(xy)
    assert found.is_single and found.pitch == pytest.approx(pitch, abs=0.02)
    np.testing.assert_allclose(corners(found, placed), xy, atol=2)
    assert placed.n_left_out == placed.n_moved == 0


def test_a_lattice_from_the_corner_has_our_own_regions():
    """Where the lattice is ours, regions begin where tokenizing begins them: at whole regions from (0, 0)."""
    found, placed = laid(lattice(share=0.9), stated=512)
    assert (found.origin == 0).all() and (placed.coords % (16 * 512) == 0).all()


def test_the_attributes_are_held_against_the_coordinates():
    """Both numbers are in the error; a pixel of rounding is none."""
    xy = lattice()
    assert laid(xy, stated=511.6)[0].derived == 512
    with pytest.raises(SlideError, match="512 level-0 px apart.*say 256"):
        laid(xy, stated=256)
    with pytest.raises(SlideError, match="512 level-0 px apart.*256 px wide"):
        laid(xy, patch=256)


def test_few_patches_take_the_attributes_word():
    """A biopsy of one or two patches has no pitch of its own."""
    assert laid([[512, 1024]], stated=512)[0].pitch == 512
    assert laid([[512, 1024], [512 * 4, 1024]], stated=512)[0].pitch == 512
    with pytest.raises(SlideError, match="no two of its 1 patches"):
        laid([[512, 1024]])


def test_random_places_are_no_lattice():
    """With and without attributes."""
    xy = np.random.default_rng(0).integers(0, 40000, (500, 2))
    for stated in (None, 512):
        with pytest.raises(SlideError, match="no lattice"):
            laid(xy, stated=stated, patch=512)


def test_overlapping_patches_have_a_smaller_pitch():
    """Every patch has a cell of its own, half a patch apart."""
    xy = lattice(pitch=256)
    found, placed = laid(xy, stated=256, patch=512)
    assert found.pitch == 256 and (placed.rows >= 0).sum() == len(xy)


def test_a_contour_with_a_phase_of_its_own_keeps_it_where_regions_hold_one_contour():
    """Two contours far apart: no patch moves, each region starts on its contour's lattice."""
    first, second = lattice(columns=20, rows=20), lattice(1, 20, 20, origin=(32 * 512 + 133, 32 * 512 + 77))
    xy = np.concatenate([first, second])
    found, placed = laid(xy, patch=512)
    assert not found.is_single and placed.n_moved == 0 and placed.n_left_out == 0
    np.testing.assert_array_equal(corners(found, placed), xy)


def test_contours_that_share_a_region_are_snapped_within_the_tolerance():
    """The rarer phase moves, by its own offset; patches beyond the tolerance or second in a cell are left out."""
    first = lattice(columns=16, rows=8, share=1)
    second = lattice(columns=8, rows=4, share=1, origin=(100, 9 * 512))
    xy = np.concatenate([first, second])
    found, placed = laid(xy, patch=512)
    assert placed.n_moved == 32 and placed.moved_px == 100 and placed.n_left_out == 0
    _, strict = laid(xy, patch=512, snap=0.1)
    assert strict.n_moved == 0 and strict.n_left_out == 32
    _, doubled = laid(np.concatenate([xy, xy[:5]]), patch=512)
    assert doubled.n_left_out == 5


def test_regions_with_few_patches_are_left_out_but_for_the_fullest():
    """As in tokenizing."""
    xy = np.concatenate([lattice(columns=4, rows=4, share=1), [[20 * 512, 0], [21 * 512, 0]]])
    _, placed = laid(xy, stated=512, min_patches=8)
    assert len(placed.coords) == 1 and placed.n_left_out == 2
    assert len(laid(xy, stated=512, min_patches=100)[1].coords) == 1


def test_the_shortest_step_that_is_met_often_is_the_pitch():
    """A few accidental neighbors of other contours do not count."""
    xy = np.concatenate([lattice(columns=30, rows=30, share=0.4), [[37, 0], [41, 512], [900, 1024]]])
    assert derived_pitch(steps_between(xy.astype(float))) == 512


def test_steps_within_blocks_and_between_them():
    """STAMP's tiles of 56 um at 0.2275 um/px: 246.15 px within a block of four, 249.46 to the next; no patch moves."""
    cells = lattice(columns=32, rows=24, share=0.8, pitch=1)
    xy = (cells // 4) * 988 + (cells % 4) * 56 / 0.2275
    found, placed = laid(xy, stated=56 / 0.2275, patch=56 / 0.2275)
    assert found.pitch == pytest.approx(247, abs=0.15) and found.is_single
    assert placed.n_moved == placed.n_left_out == 0
