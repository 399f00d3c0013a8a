"""Which regions are kept, where they lie, and which of their patches hold tissue."""

import numpy as np
import pytest

from bundle.slides.grid import region_grid

SIZE = {"region_patches": 4, "patch_size": 64}  # a region is 256 px


def grid(tissue, tissue_mpp=4.0, **options):
    """A grid over a slide of exactly the mask's extent, 0.5 um/px."""
    height, width = (round(n * tissue_mpp / 0.5) for n in tissue.shape)
    default = {"slide_width": width, "slide_height": height, "level0_mpp": 0.5, "mpp": 0.5, "min_tissue_patches": 1}
    return region_grid(tissue, tissue_mpp, **{**SIZE, **default, **options})


def test_patches_are_those_with_tissue():
    """Each cell of the mask is the share of tissue in its own square, counted px by px."""
    tissue = np.random.default_rng(0).random((96, 128)) < np.linspace(0, 0.4, 128)
    found = grid(tissue, min_tissue=0.2)
    share = tissue.reshape(12, 8, 16, 8).mean((1, 3))
    expected = {}
    for row in range(3):
        for column in range(4):
            cells = share[row * 4 : row * 4 + 4, column * 4 : column * 4 + 4] >= 0.2
            if cells.any():
                expected[column * 256, row * 256] = cells
    assert [tuple(xy) for xy in found.coords] == list(expected) and found.coords.dtype == np.int64
    np.testing.assert_array_equal(found.mask, list(expected.values()))


@pytest.mark.parametrize(("mpp", "level0_mpp"), [(0.5, 0.25), (0.5, 0.499), (0.5, 0.2533), (1.0, 0.7)])
def test_regions_start_at_round_multiples(mpp, level0_mpp):
    """Cell i is at round(i * size * mpp / level0_mpp): the rounding does not add up."""
    tissue = np.ones((200, 300), bool)
    found = region_grid(
        tissue, 4.0, slide_width=round(1200 / level0_mpp), slide_height=round(800 / level0_mpp),
        level0_mpp=level0_mpp, mpp=mpp, **SIZE,
    )  # fmt: skip
    size = 256 * mpp / level0_mpp
    xs = sorted(set(found.coords[:, 0].tolist()))
    assert xs == [round(i * size) for i in range(len(xs))] and len(xs) == int(np.ceil(1200 / (256 * mpp) - 1e-6))
    last = found.mask[(found.coords[:, 0] == xs[-1]) & (found.coords[:, 1] == 0)][0]
    inside = (1200 - xs[-1] * level0_mpp) / (64 * mpp)
    assert last[:, : int(inside)].all() and not last[:, int(np.ceil(inside)) :].any()


def test_a_small_slide_is_centered():
    """Shorter than a region along an axis: one region there, with the slide in its middle and nothing beside it."""
    found = grid(np.ones((8, 80), bool))  # 640 x 64 px
    assert found.coords.tolist() == [[0, -96], [256, -96], [512, -96]]
    assert not found.mask[:, 0].any() and not found.mask[:, 3].any()
    found = grid(np.ones((10, 16), bool))  # 128 x 80 px
    assert found.coords.tolist() == [[-64, -88]]
    np.testing.assert_array_equal(found.mask[0].sum(1), [0, 2, 2, 0])


def test_few_patches_drop_a_region_but_not_the_slide():
    """Below min_tissue_patches a region goes; where all would go, the fullest stays."""
    tissue = np.zeros((32, 96), bool)
    tissue[:8, :24], tissue[:8, 32:40], tissue[:32, 64:] = True, True, True
    assert grid(tissue, min_tissue_patches=4).coords.tolist() == [[512, 0]]
    assert grid(tissue, min_tissue_patches=3).coords.tolist() == [[0, 0], [512, 0]]
    tissue[:, 64:] = False
    found = grid(tissue, min_tissue_patches=8)
    assert found.coords.tolist() == [[0, 0]] and found.mask.sum() == 3


def test_a_patch_with_just_enough_tissue_counts():
    """min_tissue is the least share that suffices: of 64 px of the mask 16 are a quarter, and 15 are less."""
    tissue = np.zeros((32, 32), bool)
    tissue[:8, :8] = tissue[:2, 8:16] = tissue[:2, 16:24] = True
    tissue[0, 16] = False
    assert grid(tissue, min_tissue=0.25).mask[0, 0].tolist() == [True, True, False, False]


def test_less_than_a_patch_of_tissue_is_kept():
    """A crumb below min_tissue of every patch keeps the fullest patch."""
    tissue = np.zeros((32, 64), bool)
    tissue[17:19, 40:42] = True
    found = grid(tissue, min_tissue=0.5)
    assert found.coords.tolist() == [[256, 0]] and found.mask[0].nonzero() == ([2], [1])


def test_no_tissue_no_regions():
    """Nothing gives empty arrays of the right shape."""
    found = grid(np.zeros((64, 64), bool))
    assert found.coords.shape == (0, 2) and found.mask.shape == (0, 4, 4) and found.coords.dtype == np.int64


def test_patches_lie_where_they_are_read():
    """A level 2 % coarser has patches 2 % larger, counted from the same corners."""
    tissue = np.zeros((32, 32), bool)
    tissue[:, 24:] = True
    assert grid(tissue, min_tissue=0.05).mask[0].any(0).tolist() == [False, False, False, True]
    wide = grid(tissue, min_tissue=0.01, read_mpp=0.51).mask[0].any(0)
    assert wide.tolist() == [False, False, True, True]
