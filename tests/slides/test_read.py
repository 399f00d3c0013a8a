"""Where the pixels come from: any rectangle, any resolution, no shift."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from pyramids import READERS, ramps, write_pyramid

from bundle.slides import open_slide

SIZE = (250, 230)  # px; a ramp of one gray level a px fits into a byte


@pytest.fixture(scope="module")
def slides(tmp_path_factory):
    """Open slides whose colors are coordinates: a pyramid, and a single level."""
    folder = tmp_path_factory.mktemp("ramps")
    opened = [
        open_slide(write_pyramid(folder / name, ramps(*SIZE), factors=factors, tile=(64, 64), compression="zlib"))
        for name, factors in (("pyramid.tif", (1, 2, 4)), ("flat.tif", (1,)))
    ]
    yield opened
    for slide in opened:
        slide.close()


@pytest.mark.parametrize("mpp", [0.3, 0.5, 0.505, 0.6, 0.73, 1.0, 1.01, 1.3, 1.5, 2.0, 3.7])
@pytest.mark.parametrize("corner", [(0, 0), (1, 3), (37, 51), (98, 97), (-40, -33), (100, 111)])
def test_tissue_stays_in_its_place(slides, mpp, corner):
    """On average no pixel is shifted by more than half a target pixel, nor by a tenth where it is resampled."""
    for slide in slides:
        n_px = int(120 / (mpp / 0.5))
        scale = slide.read_mpp(mpp) / slide.mpp
        picture, inside = slide.read(*corner, n_px, n_px, mpp)
        assert picture.shape == (n_px, n_px, 3) and picture.dtype == np.uint8 and inside.dtype == bool
        for axis in (0, 1):  # x by red, y by green
            place = corner[axis] + (np.arange(n_px) + 0.5) * scale
            expected = (place > -1e-9) & (place < SIZE[axis])
            np.testing.assert_array_equal(inside.any(axis), expected)
            kept = picture[np.ix_(inside.any(1), inside.any(0))]
            found = kept[..., axis].mean(axis)
            shift = (found - place[expected]) / scale
            assert abs(shift).max() < 0.75, "rounding of colors included"
            is_resampled = abs(scale - round(scale)) > 0.01
            # rounding colors twice makes them brighter by up to half a level, which looks like a shift
            assert abs(shift.mean()) < (0.1 + 0.15 / scale if is_resampled else 0.55)


def test_outside_is_white_and_false(slides):
    """Beyond the slide there is white, and the mask says so; far beyond there is nothing else."""
    for slide in slides:
        picture, inside = slide.read(-32, -16, 400, 300, 0.5)
        expected = np.zeros((300, 400), bool)
        expected[16 : 16 + SIZE[1], 32 : 32 + SIZE[0]] = True
        np.testing.assert_array_equal(inside, expected)
        assert (picture[~inside] == 255).all() and (picture[inside][:, 2] < 140).all()
        picture, inside = slide.read(5000, 5000, 40, 30, 0.7)
        assert (picture == 255).all() and not inside.any()


def test_the_level_is_the_coarsest_that_is_fine_enough(slides):
    """A level within the tolerance is taken as it is; without tolerance it is resampled."""
    pyramid, flat = slides
    assert pyramid.read_mpp(1.01) == 1.0 and pyramid.read_mpp(1.01, 0.0) == 1.01 and flat.read_mpp(1.01) == 1.01
    np.testing.assert_array_equal(pyramid.read(0, 0, 100, 100, 1.01)[0], pyramid.read(0, 0, 100, 100, 1.0)[0])
    assert (pyramid.read(0, 0, 100, 100, 1.01, mpp_tolerance=0)[0] != pyramid.read(0, 0, 100, 100, 1.0)[0]).any()
    asked = []
    decode = pyramid._backend.read
    pyramid._backend.read = lambda *rectangle: asked.append(rectangle[-1]) or decode(*rectangle)
    for mpp in (0.4, 0.5, 0.9, 0.99, 1.3, 1.9, 2.0, 9.0):
        pyramid.read(0, 0, 20, 20, mpp)
    pyramid._backend.read = decode
    assert asked == [0, 0, 0, 1, 1, 1, 2, 2]


@pytest.mark.parametrize(("mpp", "given"), [(0.985, 1.0), (1.018, 1.0), (0.97, 0.97), (1.03, 1.03), (0.96, 0.96)])
def test_levels_within_two_percent_are_read_as_they_are(slides, mpp, given):
    """A level of 1 um/px is taken for what is asked for up to 2 % beside it, and no further: 3 % are resampled."""
    pyramid = slides[0]
    assert pyramid.read_mpp(mpp) == given
    picture, _ = pyramid.read(0, 0, 100, 100, mpp)
    assert picture[:, 99, 0].mean() == pytest.approx(99.5 * given / 0.5, abs=1.5)


@pytest.mark.parametrize("mpp", [0.5, 0.75, 1.0, 1.25, 2.0])
def test_neighbors_meet_without_a_seam(slides, mpp):
    """Two rectangles side by side are one wide one cut in two: the filter looks beyond its rectangle."""
    for slide in slides:
        step = int(32 * mpp / 0.5)
        whole, _ = slide.read(8, 8, 64, 40, mpp)
        parts = [slide.read(x, 8, 32, 40, mpp)[0] for x in (8, 8 + step)]
        assert abs(np.concatenate(parts, 1).astype(int) - whole).max() <= 1


def test_reduction_is_the_mean(tmp_path):
    """Twice coarser is the mean of 2 x 2 px: nothing aliases."""
    picture = np.zeros((256, 256, 3), np.uint8)
    picture[::2, ::2] = picture[1::2, 1::2] = 200
    with open_slide(write_pyramid(tmp_path / "a.tif", picture, factors=(1,), compression="zlib")) as slide:
        assert (slide.read(0, 0, 128, 128, 1.0)[0] == 100).all()
        assert abs(slide.read(0, 0, 60, 60, 1.7)[0].astype(int) - 100).max() < 8


def test_threads_may_read_at_once(real_slide):
    """Eight threads on one slide get what one gets, with every reader."""
    corners = [(x, y) for x in range(0, 2000, 400) for y in range(0, 2800, 400)]
    for reader in READERS:
        with open_slide(real_slide, reader=reader) as slide, ThreadPoolExecutor(8) as pool:
            expected = [slide.read(*corner, 100, 100, 0.9)[0] for corner in corners]
            found = list(pool.map(lambda corner: slide.read(*corner, 100, 100, 0.9)[0], corners))  # noqa: B023
        np.testing.assert_array_equal(found, expected)


def test_thumbnail_is_the_whole_slide(slides, real_slide):
    """It covers the slide, at the um/px it says; a limit on its size makes it coarser, and says so."""
    for slide in slides:
        picture, mpp = slide.thumbnail(4.0)
        assert mpp == 4.0 and picture.shape == (29, 31, 3)
        np.testing.assert_allclose(picture[..., 0].mean(0), (np.arange(31) + 0.5) * 8, atol=2)
    with open_slide(real_slide) as slide:
        picture, mpp = slide.thumbnail(1.0, max_px=500)
        assert max(picture.shape) == 500 and mpp == pytest.approx(2967 * 0.499 / 500)
