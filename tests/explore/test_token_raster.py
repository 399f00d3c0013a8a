"""Where tokens lie, and how attention compares."""

from dataclasses import replace

import numpy as np
import pytest
from slide_embeddings import made_up_slide, without_prototypes

from bundle.core import SettingError
from bundle.explore import TokenRaster, slide_layers
from bundle.explore.maps.layers import LAYERS
from bundle.storage.attention import attention_on_tissue, relative_attention


def placed(coords, width, height):
    """A slide with regions of 4 x 4 tokens of 100 px at these places."""
    size = {"region_size_level0": 400, "level0_width": width, "level0_height": height}
    slide = made_up_slide(n_regions=len(coords), side=4, level0_mpp=0.5, **size)
    return replace(slide, coords=np.asarray(coords, np.int64))


def test_the_raster_begins_at_the_slides_corner_and_covers_it():
    """Regions that do not begin at 0 leave empty cells in front; the last cell may reach beyond the slide."""
    raster = TokenRaster.of(placed([[800, 400], [1200, 800]], 2050, 1190))
    assert raster.origin == (0, 0) and raster.pitch == 100
    assert raster.shape == (12, 21)
    assert raster.first_cells.tolist() == [[4, 8], [8, 12]]
    x, y = raster.edges()
    assert x[-1] == 2050 and y[-1] == 1190


def test_a_slide_smaller_than_a_region_lies_in_its_middle():
    """The raster begins where the padded region does, outside the slide; its outer cells are not on the slide."""
    raster = TokenRaster.of(placed([[-75, -130]], 250, 140))
    assert raster.origin == (-75, -130) and raster.shape == (4, 4)
    x, y = raster.edges()
    assert x.tolist() == [0, 25, 125, 225, 250] and y.tolist() == [0, 0, 70, 140, 140]
    assert raster.within().tolist() == [[False] * 4, [True] * 4, [True] * 4, [False] * 4]


def test_rounded_corners_do_not_move_tokens():
    """Regions of 333.4 px start at rounded px; over 40 of them none slips to another cell."""
    starts = [[round(i * 333.4), 0] for i in range(40)]
    slide = placed(starts, 40 * 334, 334)
    slide.attributes["region_size_level0"] = 333.4
    assert TokenRaster.of(slide).first_cells[:, 1].tolist() == [4 * i for i in range(40)]


@pytest.mark.parametrize("mpp", [0.2201, 0.2467, 0.2498, 0.2527, 0.5, 0.5015])
@pytest.mark.parametrize("first", [1, 2, 3, 4, 9, 17])
def test_a_rounded_size_does_not_move_the_raster(mpp, first):
    """However many empty regions are in front, the raster begins at the slide's corner and tokens lie on their cells.

    The file records a whole number of px as size of a region, while regions start at rounded multiples of the true one:
    a cell in front got lost, and the raster began up to 580 px within the slide.
    """
    size = 4096 * 0.5 / mpp
    numbers = list(range(first, first + 4))
    size_px = round((first + 4) * size)
    recorded = {"region_size_level0": round(size), "level0_width": size_px, "level0_height": size_px}
    coords = np.array([[round(i * size)] * 2 for i in numbers])
    raster = TokenRaster.of(replace(made_up_slide(n_regions=4, level0_mpp=mpp, **recorded), coords=coords))
    assert raster.origin == (0, 0)
    assert raster.first_cells.tolist() == [[16 * i, 16 * i] for i in numbers]
    x, y = raster.edges()
    assert x[-1] == y[-1] == size_px


def test_regions_off_the_grid_leave_nothing_of_the_slide_uncovered():
    """Where the first region begins within a cell, so does the slide."""
    raster = TokenRaster.of(placed([[275, 30]], 1000, 900))
    assert raster.origin == (-25, -70) and raster.first_cells.tolist() == [[1, 3]]
    x, y = raster.edges()
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1000, 900)


def test_values_land_on_their_tokens():
    """One number a region or one a token; background has none."""
    slide = placed([[0, 0], [400, 0]], 800, 400)
    raster = TokenRaster.of(slide)
    values = np.arange(32.0).reshape(2, 4, 4)
    painted = raster.paint(values)
    assert painted.shape == (4, 8)
    np.testing.assert_array_equal(np.isfinite(painted), np.concatenate(slide.mask, 1))
    held = np.concatenate(slide.mask, 1)
    np.testing.assert_array_equal(painted[held], np.concatenate(values, 1)[held])
    assert set(np.unique(raster.paint([5.0, 7.0])[held])) == {5.0, 7.0}


def test_attention_compares_between_regions():
    """A region's tissue has mean 1 in every head, however little tissue there is and whatever background takes."""
    slide = made_up_slide()
    mask = slide.mask.copy()
    mask[0] = False
    mask[0, 3, :5] = True
    mask[1] = False
    relative = relative_attention(slide.attention, mask)
    for region in (0, 2):
        np.testing.assert_allclose(relative[region][:, mask[region]].mean(1), 1, rtol=1e-3)
    assert relative[1].max() == 0 and relative[0][:, ~mask[0]].max() == 0
    twice = relative[0, 0, 3, 1] / relative[0, 0, 3, 2]
    assert twice == pytest.approx(float(slide.attention[0, 0, 3, 1]) / float(slide.attention[0, 0, 3, 2]), rel=1e-3)


def test_the_share_of_attention_on_tissue():
    """Between none and what CLS does not give to itself."""
    slide = made_up_slide()
    everything = attention_on_tissue(slide.attention, np.ones_like(slide.mask))
    np.testing.assert_allclose(everything, 1 / 1.1, rtol=1e-2)
    assert attention_on_tissue(slide.attention, np.zeros_like(slide.mask)).max() == 0


def test_layers_hold_what_they_say():
    """Prototypes count from 1 and leave out regions without; similarity is the cosine; attention has heads and mean."""
    slide = made_up_slide(n_regions=4)
    slide.assignment[3] = -1
    raster = TokenRaster.of(slide)
    layers = {layer.name: layer for layer in slide_layers(slide, raster)}
    assert list(layers) == ["prototypes", "similarity_1", "similarity_2", "similarity_3", "attention"] + [
        f"attention_head_{h}" for h in range(1, 7)
    ]
    assert set(np.unique(layers["prototypes"].values[np.isfinite(layers["prototypes"].values)])) == {0, 1, 2, 3}
    first = layers["similarity_2"].values[:16, :16][slide.mask[0]]
    np.testing.assert_allclose(first, slide.projection[0] @ slide.prototypes[1], rtol=1e-5)
    heads = np.mean([layers[f"attention_head_{h}"].values for h in range(1, 7)], 0)
    np.testing.assert_allclose(layers["attention"].values, heads, rtol=1e-4)


def test_layers_that_a_slide_has_not_are_left_out():
    """No prototypes, no attention: what remains is the map of regions without a prototype."""
    slide = without_prototypes(made_up_slide(n_prototypes=1, has_attention=False))
    assert [layer.name for layer in slide_layers(slide, TokenRaster.of(slide))] == ["prototypes"]


def test_an_unknown_layer_is_named():
    """With those that there are."""
    slide = made_up_slide()
    with pytest.raises(SettingError, match=f"saliency.*{', '.join(LAYERS)}"):
        slide_layers(slide, TokenRaster.of(slide), ["saliency"])
