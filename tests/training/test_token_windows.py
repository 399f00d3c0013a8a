"""Windows that are chosen by what is in them."""

import pytest
import torch

from bundle.training import CenterTokenCrop, FullestTokenCrop, RandTokenCropsd
from bundle.training.transforms.token_crops import RandTokenCrops
from bundle.training.transforms.token_windows import draw_windows, fullest_windows, tokens_in_windows


def test_windows_are_counted():
    """Window by window, on grids that are not square."""
    present = torch.rand(3, 9, 7) < 0.4
    for size in (1, 4, 7):
        counts = tokens_in_windows(present, size)
        assert counts.shape == (3, 10 - size, 8 - size)
        for b, top, left in torch.cartesian_prod(*map(torch.arange, counts.shape)).tolist():
            assert counts[b, top, left] == present[b, top : top + size, left : left + size].sum()


def test_a_window_is_as_likely_as_it_has_tokens():
    """Frequencies of 60,000 draws, evenly spread, are the shares of tokens; a window without any never comes."""
    present = torch.zeros(1, 5, 5, dtype=torch.bool)
    present[0, 0, 0] = present[0, 0, 1] = present[0, 4, 3] = True
    draws = ((torch.arange(60_000, dtype=torch.float64) + 0.5) / 60_000)[:, None]
    rows, columns = draw_windows(present, 2, draws)
    found = torch.zeros(4, 4).index_put_((rows[:, 0], columns[:, 0]), torch.ones(len(rows)), accumulate=True)
    counts = tokens_in_windows(present, 2)[0]
    torch.testing.assert_close(found / len(rows), counts / counts.sum(), atol=1e-4, rtol=0)
    assert (found[counts == 0] == 0).all()


@pytest.mark.parametrize("full", [True, False])
def test_grids_that_are_full_or_empty_give_all_windows_alike(full):
    """And the draws at the very ends stay inside."""
    present = torch.full((2, 6, 6), full)
    draws = ((torch.arange(16_000, dtype=torch.float64) + 0.5) / 16_000)[:, None].expand(-1, 2)
    rows, columns = draw_windows(present, 3, draws)
    assert (torch.bincount((rows * 4 + columns)[:, 1], minlength=16) == 1000).all()
    ends = torch.tensor([[0.0, 0.0], [1 - 2**-53, 1 - 2**-53]], dtype=torch.float64)
    rows, columns = draw_windows(present, 3, ends)
    assert rows.tolist() == columns.tolist() == [[0, 0], [3, 3]]


def test_the_fullest_window_is_the_middle_of_a_full_grid():
    """Where the center crop is, for odd and even differences; else where the most tokens are, as close as can be."""
    for side, size in ((16, 14), (16, 13), (9, 6), (6, 6)):
        top, left = fullest_windows(torch.ones(2, side, side, dtype=torch.bool), size)
        assert top.tolist() == left.tolist() == [(side - size) // 2] * 2
    present = torch.zeros(3, 8, 8, dtype=torch.bool)
    present[0, :3, 5:] = True
    present[1, 4, 0] = True
    top, left = fullest_windows(present, 4)
    assert list(zip(top.tolist(), left.tolist(), strict=True)) == [(0, 4), (2, 0), (2, 2)]


def test_the_fullest_crop_takes_tokens_and_mask_together():
    """Of full grids it is the center crop; of others each token comes with what says that it is there."""
    tokens, full = torch.randn(3, 16, 16, 4), torch.ones(3, 16, 16, dtype=torch.bool)
    view, mask = FullestTokenCrop(14)(tokens, full)
    assert torch.equal(view, CenterTokenCrop(14)(tokens)) and mask.all() and mask.shape == (3, 14, 14)
    present = torch.zeros(3, 16, 16, dtype=torch.bool)
    present[:, 12:, 11:] = True
    view, mask = FullestTokenCrop(6)(tokens * present[..., None], present)
    assert (mask.sum((1, 2)) == 20).all() and torch.equal((view != 0).all(1), mask)


def test_views_come_with_their_masks():
    """A mask says of each cell of a view, mirrored or not, whether its token is there; the key alone decides."""
    present = torch.rand(5, 16, 16) < 0.3
    present[0], present[1] = False, True
    tokens = torch.randn(5, 16, 16, 3) * present[..., None]
    views, masks = RandTokenCrops(seed=3).with_masks(tokens, torch.arange(5), 2, present)
    assert [tuple(mask.shape) for mask in masks] == [(2, 5, 14, 14), (8, 5, 6, 6)]
    assert all(torch.equal((view != 0).all(2), mask) for view, mask in zip(views, masks, strict=True))
    some = torch.tensor([4, 2])
    again, _ = RandTokenCrops(seed=3).with_masks(tokens[some], some, 2, present[some])
    assert all(torch.equal(view[:, some], part) for view, part in zip(views, again, strict=True))


def test_crops_prefer_tokens():
    """A region with tokens in one corner: each of 800 local crops has some, unlike those that do not look."""
    present = torch.zeros(100, 16, 16, dtype=torch.bool)
    present[:, :4, :4] = True
    tokens, ids = present[..., None].float(), torch.arange(100)
    _, masks = RandTokenCrops().with_masks(tokens, ids, 1, present)
    assert masks[1].any(3).any(2).all()
    blind = RandTokenCrops()(tokens, ids, 1)[1]
    assert not (blind != 0).flatten(2).any(2).all()


def test_the_dictionary_twin_reads_what_is_there():
    """Only where it is told to."""
    batch = {"features": torch.randn(2, 16, 16, 3), "region_id": torch.arange(2), "epoch": 4}
    assert "masks" not in RandTokenCropsd()(batch)
    batch["present"] = torch.rand(2, 16, 16) < 0.5
    made = RandTokenCropsd(seed=7, mask_missing="true")(batch)
    views, masks = RandTokenCrops(seed=7).with_masks(batch["features"], batch["region_id"], 4, batch["present"])
    pairs = [*zip(made["views"], views, strict=True), *zip(made["masks"], masks, strict=True)]
    assert all(torch.equal(got, expected) for got, expected in pairs)
