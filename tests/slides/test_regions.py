"""From a slide to its regions and patches."""

import numpy as np
import pytest
from pyramids import write_pyramid
from scipy import ndimage
from tiny_slides import draw_square, draw_tissue, write_slide

from bundle.core import SlideError
from bundle.slides import open_slide, read_patches
from bundle.slides.regions import plan_slide

SIZE = {"mpp": 2.0, "patch_size": 16, "region_patches": 4}


def test_plan_covers_the_tissue(tmp_path):
    """Patches of the plan hold the tissue that was drawn; those that it leaves out are glass."""
    with open_slide(write_slide(tmp_path / "a.tif", 640)) as slide:
        grid = plan_slide(slide, **SIZE, min_tissue=0.3, min_tissue_patches=1)
    planned = np.zeros((40, 40), bool)
    for (x, y), mask in zip(grid.coords, grid.mask, strict=True):
        planned[y // 16 : y // 16 + 4, x // 16 : x // 16 + 4] = mask
    stained = (draw_tissue(640)[..., 1] < 200).reshape(40, 16, 40, 16).mean((1, 3))
    assert planned[stained > 0.5].all() and not planned[ndimage.uniform_filter(stained, 3) < 0.01].any()


def test_roi_limits_the_plan(tmp_path):
    """Only tissue within the drawn area counts; an area without tissue is said to be the reason."""
    path = write_slide(tmp_path / "a.tif", 640)
    with open_slide(path) as slide:
        for corner, size in ((100, 64), (600, 40)):
            roi = draw_square(tmp_path / "roi.geojson", corner, size)
            if corner == 100:
                grid = plan_slide(slide, roi=roi, **SIZE, min_tissue_patches=1)
                assert (grid.coords >= 64).all() and (grid.coords < 192).all() and 9 <= grid.mask.sum() <= 25
            else:
                with pytest.raises(SlideError, match=r"slide a \(a.tif\) has no tissue within .* roi.geojson"):
                    plan_slide(slide, roi=roi, **SIZE)


def test_a_slide_without_tissue_is_an_error(tmp_path):
    """It names the slide, what was looked at, and the ways out."""
    blank = np.full((320, 320, 3), 240, np.uint8)
    with (
        open_slide(write_pyramid(tmp_path / "a.tif", blank, 2.0)) as slide,
        pytest.raises(SlideError, match="draw its"),
    ):
        plan_slide(slide, **SIZE)


def test_a_slide_that_is_too_coarse_is_enlarged_with_a_warning(tmp_path, caplog):
    """Asked for 0.5 um/px, a slide of 2 um/px gives enlarged patches, and says so."""
    with open_slide(write_slide(tmp_path / "a.tif")) as slide:
        grid = plan_slide(slide, mpp=0.5, patch_size=64, region_patches=4)
    assert "slide a is enlarged: its finest level has 2 um/px, asked for are 0.5" in caplog.text
    assert len(grid.coords)


@pytest.mark.parametrize("mpp", [0.5, 0.505, 0.7, 1.0, 1.6])
def test_a_patch_does_not_depend_on_its_neighbors(real_slide, mpp):
    """Read alone, in a row, or with the whole region: the same px to one gray level, in the order of the mask.

    Patches once lay elsewhere when fewer of them were asked for.
    """
    size = {"mpp": mpp, "patch_size": 32, "region_patches": 8}
    with open_slide(real_slide) as slide:
        whole = read_patches(slide, (700, 900), np.ones((8, 8), bool), **size)
        assert whole.shape == (64, 32, 32, 3) and whole.dtype == np.uint8
        mask = np.random.default_rng(0).random((8, 8)) < 0.3
        mask[0], mask[:, 0] = False, False
        some = read_patches(slide, (700, 900), mask, **size)
        assert abs(some.astype(int) - whole[mask.ravel()]).max() <= 1
        single = np.zeros((8, 8), bool)
        single[5, 7] = True
        alone = read_patches(slide, (700, 900), single, **size)[0]
        assert abs(alone.astype(int) - whole[47]).max() <= 1
        assert read_patches(slide, (0, 0), np.zeros((8, 8), bool), **size).shape == (0, 32, 32, 3)


def test_a_small_slide_is_padded(tmp_path):
    """Around a slide smaller than a region patches are white, and the plan leaves them out."""
    with open_slide(write_slide(tmp_path / "a.tif", 48)) as slide:
        size = {**SIZE, "region_patches": 8}
        grid = plan_slide(slide, **size)
        patches = read_patches(slide, grid.coords[0], np.ones((8, 8), bool), **size)
    assert grid.coords.tolist() == [[-40, -40]] and not grid.mask[0, :2].any() and not grid.mask[0, :, 6:].any()
    whole = patches.reshape(8, 8, 16, 16, 3).swapaxes(1, 2).reshape(128, 128, 3)
    assert (whole[:40] == 255).all() and (whole[:, 88:] == 255).all()
    assert (whole[40:88, 40:88] < 250).any(2).mean() > 0.9
