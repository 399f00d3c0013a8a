"""Pictures of maps: colors lie where the tissue does, and say what they mean."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from slide_embeddings import made_up_slide

from bundle.explore import MapRequest, OverlayPng, TokenRaster, slide_layers
from bundle.explore.maps.layers import LAYERS
from bundle.explore.maps.map_panel import length_text, round_length
from bundle.explore.maps.map_picture import faded, slide_picture, tinted
from bundle.explore.maps.overlay import map_figure
from bundle.explore.maps.page_layout import folded, lay_out
from bundle.pages import NO_PROTOTYPE, prototype_colors


def test_tokens_are_tinted_and_nothing_else():
    """On white, a token with tissue has its prototype's color, thinned; background stays white."""
    slide = made_up_slide(n_regions=4)
    slide.assignment[3] = -1
    raster = TokenRaster.of(slide)
    (layer,) = slide_layers(slide, raster, ["prototypes"])
    picture = tinted(np.full((32, 128, 3), 255, np.uint8), layer, raster)[::2, ::2]  # 2 px a token
    colors = [*prototype_colors(3), np.array(NO_PROTOTYPE)]
    for region, color in enumerate(colors):
        tokens = picture[:, 16 * region : 16 * region + 16]
        assert (tokens[~slide.mask[region]] == 255).all()
        expected = (0.4 * 255 + 0.6 * color).astype(int)
        assert np.abs(tokens[slide.mask[region]].astype(int) - expected).max() <= 1


def test_a_padded_region_is_cut_at_the_slides_border():
    """Where the slide is smaller than its region, the picture is the slide."""
    slide = made_up_slide(n_regions=1, n_prototypes=1, level0_width=2 * 512, level0_height=2 * 512)
    slide.mask[:] = True
    slide.mask[0, 8, 8] = False
    slide = replace(slide, coords=np.array([[-3584, -3584]]))
    raster = TokenRaster.of(slide)
    (layer,) = slide_layers(slide, raster, ["prototypes"])
    picture = tinted(slide_picture(raster, None, 20), layer, raster)
    assert picture.shape == (20, 20, 3)
    background = (picture == 250).all(-1)
    assert background[10:, 10:].all() and background.sum() == 100


def test_the_slide_is_gray_under_a_map():
    """No color of a stain is left to be taken for one of the map's; light stays light."""
    picture = np.array([[[180, 60, 150], [255, 255, 255]]], np.uint8)
    gray = faded(picture)
    assert (gray == gray[..., :1]).all() and gray[0, 1, 0] >= 254 and 130 < gray[0, 0, 0] < 220


@pytest.mark.parametrize(
    ("most", "length", "text"),
    [(0.26, 0.2, "200 µm"), (1.0, 1.0, "1 mm"), (9.99, 5, "5 mm"), (0.0051, 0.005, "5 µm"), (20, 20, "20 mm")],
)
def test_scale_bars_are_round(most, length, text):
    """1, 2 or 5 times a power of ten, in a unit that needs no decimals."""
    assert round_length(most) == pytest.approx(length) and length_text(round_length(most)) == text


def test_a_figure_says_what_its_colors_mean():
    """Names and shares of prototypes, the scale bar's length, titles of the panels; the bar has its length in mm."""
    slide = made_up_slide()
    raster = TokenRaster.of(slide)
    thumbnail = np.full((60, 80, 3), 230, np.uint8), 100.0
    figure = map_figure(slide, slide_layers(slide, raster, ["prototypes"]), raster, thumbnail)
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert [text.split()[0] for text in texts] == ["1", "2", "3"] and texts[0].endswith("%)")
    ground, panel = figure.axes
    assert (ground.get_title(), panel.get_title()) == ("slide", "prototypes")
    assert [text.get_text() for text in ground.texts] == ["2 mm"]
    assert np.ptp(ground.lines[0].get_xdata()) == pytest.approx(2.0)
    assert ground.get_xlim() == pytest.approx((0, slide.level0_size[0] * 0.25e-3))


@pytest.mark.parametrize("n_regions", [1, 40])
def test_pictures_are_written(n_regions, tmp_path):
    """One PNG a kind of layer, in colors, not too small to print; a slide without attention has two."""
    slide = made_up_slide(n_regions=n_regions, n_prototypes=1 if n_regions == 1 else 9, has_attention=n_regions == 1)
    layers = LAYERS if n_regions == 1 else ("prototypes", "similarity")
    paths = OverlayPng()(slide, MapRequest(layers=layers), tmp_path)
    assert [path.name for path in paths] == [f"slide_a.{kind}.png" for kind in layers]
    for path in paths:
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB")).astype(int)
        assert min(pixels.shape[:2]) >= 400 and (np.ptp(pixels, 2) > 60).mean() > 0.05


@pytest.mark.parametrize("aspect", [0.05, 0.3, 0.7, 1.0, 3.0, 20.0])
@pytest.mark.parametrize("n_panels", [1, 2, 8, 33])
def test_a_page_holds_its_panels(n_panels, aspect):
    """All of them, no page larger than 10 x 7.5 inches unless panels would be too narrow for their titles."""
    layout = lay_out(n_panels, aspect, legend_in=0.5)
    assert (layout.rows - 1) * layout.columns < n_panels <= layout.rows * layout.columns
    assert layout.columns * layout.panel_in < layout.page_in[0]
    assert layout.rows * layout.panel_in * aspect < layout.page_in[1]
    if layout.panel_in > 0.9:
        assert layout.page_in[0] <= 10 + 1e-9 and layout.page_in[1] <= 7.5 + 1e-9


def test_two_panels_stand_side_by_side():
    """Slide and map beside each other, unless the slide is much wider than high."""
    assert [lay_out(2, aspect).columns for aspect in (0.2, 0.7, 1.0, 2.0)] == [1, 2, 2, 2]


def test_long_names_are_folded():
    """A TCGA name with its UUID takes two lines on a narrow page and loses no letter."""
    name = "TCGA-AB-1234-01Z-00-DX1.0123ABCD-4567-89EF-0123-456789ABCDEF"
    assert folded(name, 5).replace("\n", "") == name and folded(name, 5).count("\n") == 1 and folded(name, 10) == name


@pytest.mark.parametrize(("um_per_px", "is_same"), [(64.0, True), (64.5, True), (80.0, False), (32.0, False)])
def test_maps_do_not_lie_on_another_slide(um_per_px, is_same, caplog):
    """A thumbnail whose size in um is not the slide's is left out, with a warning that has both sizes."""
    slide = made_up_slide()
    picture = np.zeros((96, 128, 3), np.uint8)
    found = MapRequest(thumbnail=lambda slide_id: (picture, um_per_px)).thumbnail_of(slide)
    assert (found is not None) == is_same
    assert ("8192 x 6144 um in its embeddings" in caplog.text) != is_same
