"""Pixels that are no squares: each axis at its own um/px, up to a tenth apart."""

import json

import numpy as np
import pytest
from pyramids import READERS, ramps, write_pyramid
from tiny_slides import draw_tissue

from bundle.core import SlideError
from bundle.slides import ReadSettings, SlideRegions, open_slide

X_UM, Y_UM = 0.5, 0.54


def tags(x, y):
    """TIFF's resolution."""
    return {"mpp": None, "resolution": (1e4 / x, 1e4 / y), "resolutionunit": "CENTIMETER"}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("mpp", [0.5, 0.7, 1.0, 2.0])
def test_each_axis_is_read_at_its_own_scale(tmp_path, caplog, reader, mpp):
    """Tissue lies at its um in x and in y; both used to be read at their mean, and lay apart by up to 8 %."""
    how = {"factors": (1, 2), "compression": "jpeg" if reader == "cucim" else "zlib", **tags(X_UM, Y_UM)}
    path = write_pyramid(tmp_path / "a.tif", ramps(500, 440, X_UM, Y_UM), **how)
    with open_slide(path, reader=reader) as slide:
        assert slide.mpp == pytest.approx(X_UM) and slide.aspect == pytest.approx((1, Y_UM / X_UM))
        assert (slide.width, slide.height) == (500, round(440 * Y_UM / X_UM))
        n = int(140 / mpp)
        picture, inside = slide.read(40, 60, n, n, mpp)
        assert inside.all()
        for axis, corner in ((0, 40), (1, 60)):
            expected = corner * X_UM + (np.arange(n) + 0.5) * slide.read_mpp(mpp)
            shift = (picture[..., axis].mean(axis) - expected)[2:-2]
            assert abs(shift).max() < 1.5 and abs(shift.mean()) < 0.6
        whole, _ = slide.read(0, 0, 64, 64, mpp)
        parts = [slide.read(0, top * mpp / X_UM, 64, 32, mpp)[0] for top in (0, 32)]
        assert abs(np.concatenate(parts).astype(int) - whole).max() <= 2
    assert "slide a has oblong pixels, 0.5 x 0.54 um: each axis is read by itself, at 0.5 um/px" in caplog.text


@pytest.mark.parametrize(("y", "kind"), [(0.504, "square"), (0.506, "oblong"), (0.549, "oblong"), (0.552, "refused")])
def test_how_far_apart_axes_may_be(tmp_path, caplog, y, kind):
    """1 % is one number, at the mean; 10 % are two; more is a mistake of the file, unless the table says."""
    path = write_pyramid(tmp_path / "a.tif", draw_tissue(), factors=(1,), **tags(0.5, y))
    if kind == "refused":
        with pytest.raises(SlideError, match=r"slide a has oblong pixels, 0.5 x 0.552 um, by its file.*column mpp"):
            open_slide(path)
    else:
        with open_slide(path) as slide:
            assert (slide.aspect != (1, 1)) == (kind == "oblong")
            assert slide.mpp == pytest.approx(0.502 if kind == "square" else 0.5)
        assert bool(caplog.text) == (kind == "oblong")
    with open_slide(path, mpp=0.5) as slide:
        assert slide.aspect == (1, 1) and slide.width == slide.height == 320


def test_regions_know_that_px_are_made(tmp_path):
    """The token file says what a px of the file is in level-0 px; a ROI, in px of the file, lies where it was drawn."""
    path = write_pyramid(tmp_path / "a.tif", draw_tissue(640), factors=(1,), **tags(2.0, 2.16))
    roi = tmp_path / "roi.geojson"
    corners = [[100, 80], [350, 80], [350, 300], [100, 300]]
    roi.write_text(json.dumps({"type": "Polygon", "coordinates": [corners]}))
    how = ReadSettings(mpp=2.0, patch_size=16, region_patches=2, min_tissue_patches=1)
    regions = SlideRegions(open_slide(path), how, roi)
    found = regions.attributes
    assert found["pixel_aspect"] == pytest.approx([1, 1.08]) and found["level0_mpp"] == pytest.approx(2.0)
    assert (found["level0_width"], found["level0_height"]) == (640, 691)
    y = regions.grid.coords[:, 1]
    assert y.min() == 64 and y.max() == 320, "the ROI ends at 300 px of the file, which are 324"
    assert len(next(iter(regions))) == regions.grid.mask[0].sum()
    regions.close()
