"""Token crops: where they lie, what keys them, and MONAI's habits."""

import numpy as np
import pytest
import torch
from monai.transforms import Compose, MapTransform, Randomizable, Transform

from bundle.core import BundleError
from bundle.training import CenterTokenCrop, RandTokenCropsd
from bundle.training.transforms.token_crops import RandTokenCrops


def _numbered(n_regions: int, side: int = 16) -> torch.Tensor:
    """Grids [n, side, side, 2] in which a token's values are its row and column."""
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    return torch.stack([rows, columns], -1).half().expand(n_regions, -1, -1, -1)


def test_views_are_crops_of_their_region():
    """Every view is a contiguous window of the right region, mirrored or not: the slow way gives the same."""
    tokens = torch.randn(3, 16, 16, 5).half()
    marks = RandTokenCrops(seed=3)(_numbered(3), torch.tensor([7, 8, 9]), 2)
    views = RandTokenCrops(seed=3)(tokens, torch.tensor([7, 8, 9]), 2)
    assert [tuple(v.shape) for v in views] == [(2, 3, 5, 14, 14), (8, 3, 5, 6, 6)]
    for group, places in zip(views, marks, strict=True):
        assert group.dtype == torch.float32
        for v in range(group.shape[0]):
            for b in range(3):
                row, column = places[v, b].long()
                top, left, size = int(row.min()), int(column.min()), row.shape[0]
                window = tokens[b, top : top + size, left : left + size].float()
                is_flipped = bool(column[0, 0] > column[0, -1])
                expected = window.flip(1) if is_flipped else window
                torch.testing.assert_close(group[v, b], expected.permute(2, 0, 1), rtol=0, atol=0)


def test_a_view_depends_on_its_key_alone():
    """The same (seed, epoch, id, view) gives the same crop whatever else is in the batch; another key another one."""
    tokens = torch.randn(6, 16, 16, 4)
    ids = torch.arange(6)
    crops = RandTokenCrops(seed=1)
    together = crops(tokens, ids, 5)
    order = torch.tensor([4, 1])
    apart = crops(tokens[order], ids[order], 5)
    for whole, part in zip(together, apart, strict=True):
        torch.testing.assert_close(whole[:, order], part, rtol=0, atol=0)
    for other in (crops(tokens, ids, 6), crops(tokens, ids + 100, 5), RandTokenCrops(seed=2)(tokens, ids, 5)):
        assert not torch.equal(together[1], other[1])


def test_crops_are_uniform():
    """Positions are uniform over all places and half the crops are flipped, independently in each view."""
    n = 4000
    marks = RandTokenCrops(n_local=2)(_numbered(n), torch.arange(n), 1)
    for group in marks:
        size = group.shape[-1]
        places = 16 - size + 1
        for view in group:
            top = view[:, 0, 0, 0].long()
            left = view[:, 1].amin((1, 2)).long()
            flipped = (view[:, 1, 0, 0] > view[:, 1, 0, -1]).float().mean()
            assert abs(flipped - 0.5) < 0.04
            for places_of in (top, left):
                share = torch.bincount(places_of, minlength=places).float() / n
                assert (share - 1 / places).abs().max() < 5 * (1 / places / n) ** 0.5
        first, second = group[0, :, 0, 0, 0], group[1, :, 0, 0, 0]
        assert abs(torch.corrcoef(torch.stack([first, second]))[0, 1]) < 0.06


def test_flip_prob_is_kept():
    """0 flips nothing, 1 flips everything."""
    for prob in (0.0, 1.0):
        marks = RandTokenCrops(flip_prob=prob)(_numbered(20), torch.arange(20), 0)[0]
        assert bool((marks[:, :, 1, 0, 0] > marks[:, :, 1, 0, -1]).all()) == bool(prob)


def test_what_is_random_is_computed_where_the_ids_are():
    """Ids on the host, tokens elsewhere: only places travel, so that a GPU is not asked for many small operations."""
    crops = RandTokenCrops()
    views = crops(torch.empty(3, 16, 16, 5, device="meta"), torch.arange(3), 1)
    assert all(view.device.type == "meta" for view in views)
    assert [lines.device.type for lines in crops.lines] == ["cpu", "cpu"]
    assert [tuple(lines.shape) for lines in crops.lines] == [(2, 2, 3, 14), (2, 8, 3, 6)]


def test_no_local_views():
    """n_local = 0 gives the global group alone."""
    assert len(RandTokenCrops(n_local=0)(torch.zeros(2, 16, 16, 3), torch.arange(2), 0)) == 1


def test_grid_smaller_than_a_crop():
    """The error names both sizes and the way out."""
    with pytest.raises(BundleError, match="14 x 14 tokens does not fit into a grid of 8 x 8.*region_patches"):
        RandTokenCrops()(torch.zeros(1, 8, 8, 3), torch.arange(1), 0)
    with pytest.raises(BundleError, match="14 x 14"):
        CenterTokenCrop()(torch.zeros(1, 8, 8, 3))


def test_impossible_arguments_are_refused():
    """A probability above 1 or no global view is refused at construction."""
    with pytest.raises(ValueError, match="flip_prob in"):
        RandTokenCrops(flip_prob=1.5)
    with pytest.raises(ValueError, match="n_global >= 1"):
        RandTokenCrops(n_global=0)


def test_monai_conventions():
    """They are Randomizable transforms; Compose runs the twin and seeds it, and a state is accepted, too."""
    assert issubclass(RandTokenCrops, Randomizable) and issubclass(RandTokenCrops, Transform)
    assert issubclass(RandTokenCropsd, Randomizable) and issubclass(RandTokenCropsd, MapTransform)
    batch = {"features": torch.randn(2, 16, 16, 3), "region_id": torch.arange(2), "epoch": 1}
    one, two = (Compose([RandTokenCropsd("features")]).set_random_state(seed=11) for _ in range(2))
    first, second = one(batch), two(batch)
    assert all(torch.equal(a, b) for a, b in zip(first["views"], second["views"], strict=True))
    assert "views" not in batch, "the batch that was handed in stays as it was"
    crops = RandTokenCrops()
    assert crops.set_random_state(seed=5) is crops and crops.seed == 5
    crops.set_random_state(state=np.random.RandomState(0))
    assert crops.seed == RandTokenCrops().set_random_state(state=np.random.RandomState(0)).seed != 5


def test_twin_equals_array_transform():
    """The dictionary twin hands its arguments on, and says what is missing in a batch."""
    tokens, ids = torch.randn(2, 16, 16, 3), torch.tensor([3, 9])
    twin = RandTokenCropsd(keys="features", n_local=3, local_size=5, seed=4)
    views = twin({"features": tokens, "region_id": ids, "epoch": 2})["views"]
    expected = RandTokenCrops(n_local=3, local_size=5, seed=4)(tokens, ids, 2)
    assert all(torch.equal(a, b) for a, b in zip(views, expected, strict=True))
    with pytest.raises(BundleError, match="'epoch'"):
        twin({"features": tokens, "region_id": ids})
    with pytest.raises(ValueError, match="one key"):
        RandTokenCropsd(keys=("a", "b"))


def test_center_crop():
    """14 of 16 leaves one token on each side; the result is a view and channel first."""
    tokens = _numbered(2)
    crop = CenterTokenCrop(14)(tokens)
    assert crop.shape == (2, 2, 14, 14) and crop[0, 0, 0, 0] == 1 and crop[0, 1, -1, -1] == 14
    assert crop.data_ptr() == tokens[:, 1:, 1:].data_ptr()
