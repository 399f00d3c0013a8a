"""Views whose gaps hold tissue of their region, drawn anew for each view."""

import numpy as np
import pytest
import torch

from bundle.core import SettingError
from bundle.training import RandTokenBlocksd, RandTokenCropsd, RandTokenFilld, RandTokenShiftd
from bundle.training.transforms.token_fill import RandTokenFill, spare_tokens


class Tokens:
    """Three slides of four regions; a token tells its region, row and column. NaN where there is none.

    Region 1 has no token, 6 has background alone, and the last slide has no tissue at all.
    """

    has_missing = True

    def __init__(self):
        self.slide_index = torch.arange(3).repeat_interleave(4)
        cells = torch.cartesian_prod(torch.arange(12), torch.arange(8), torch.arange(8)).float() + 1
        self.present = torch.rand(12, 8, 8, generator=torch.Generator().manual_seed(0)) < 0.5
        self.masks = self.present & (torch.rand(12, 8, 8, generator=torch.Generator().manual_seed(1)) < 0.7)
        self.present[1], self.masks[1], self.masks[6], self.masks[8:] = False, False, False, False
        self.features = torch.where(self.present[..., None], cells.view(12, 8, 8, 3), torch.nan)

    def read(self, indices):
        return self.features[torch.from_numpy(indices)]

    def batch(self, regions, epoch=3):
        names = {"features": self.features, "mask": self.masks, "present": self.present, "slide": self.slide_index}
        return {name: value[regions] for name, value in names.items()} | {"region_id": regions, "epoch": epoch}


def made(tokens, regions, epoch=3, kind="tissue"):
    """A batch with its views, filled or with masks."""
    crops = RandTokenCropsd(n_global=2, global_size=6, n_local=3, local_size=4, mask_missing=True, seed=2)
    return RandTokenFilld(crops, tokens, kind, seed=2)(tokens.batch(torch.tensor(regions), epoch))


def test_gaps_hold_tissue_of_the_region_and_the_rest_stays():
    """Whatever region: what was there is there, and in each gap stands one of the region's tissue tokens."""
    tokens, regions = Tokens(), [0, 2, 5, 7]
    plain, filled = made(tokens, regions, kind="none"), made(tokens, regions)
    assert "masks" in plain and "masks" not in filled
    for before, mask, after in zip(plain["views"], plain["masks"], filled["views"], strict=True):
        before, after = before.movedim(2, -1), after.movedim(2, -1)
        assert after.dtype == torch.float32 and torch.equal(after[mask], before[mask]) and not mask.all()
        for b, region in enumerate(regions):
            new = (after[:, b][~mask[:, b]] - 1).long()
            assert (new[:, 0] == region).all() and tokens.masks[region, new[:, 1], new[:, 2]].all()


def test_regions_without_tissue_borrow_from_their_slide():
    """A region with no token, or with background alone, takes tissue of others of its slide; where the slide has none,
    it stays as it was."""
    tokens = Tokens()
    filled = made(tokens, [1, 6, 9])["views"][0].movedim(2, -1)
    plain = made(tokens, [1, 6, 9], kind="none")
    new = (filled[:, 0] - 1).long().flatten(0, 2)
    assert set(new[:, 0].tolist()) == {0, 2, 3} and tokens.masks[tuple(new.T)].all()
    gaps = ~plain["masks"][0][:, 1]
    new = (filled[:, 1][gaps] - 1).long()
    assert set(new[:, 0].tolist()) == {4, 5, 7} and tokens.masks[tuple(new.T)].all()
    torch.testing.assert_close(filled[:, 2], plain["views"][0].movedim(2, -1)[:, 2], equal_nan=True)
    assert spare_tokens(tokens).rows.tolist() == [-1, 0, -1, -1, -1, -1, 1, *[-1] * 5]
    tokens.masks[[1, 6, 8, 9, 10, 11]] = tokens.present[[1, 6, 8, 9, 10, 11]] = True
    assert spare_tokens(tokens) is None


def test_each_tissue_token_is_as_likely():
    """Over 40,000 gaps of a region with 5 tissue tokens each stands in a fifth, in neighboring gaps independently."""
    tissue = torch.zeros(1, 8, 8, dtype=torch.bool)
    tissue[0, 2, 1:6] = True
    grid = torch.arange(64.0).view(1, 8, 8, 1)
    views, masks = [torch.zeros(1000, 1, 1, 8, 5)], [torch.zeros(1000, 1, 8, 5, dtype=torch.bool)]
    got = RandTokenFill(seed=1)(views, masks, grid, tissue, torch.tensor([7]), 0)[0].long() - 17
    counts = torch.bincount(got.flatten(), minlength=5)
    np.testing.assert_allclose(counts / 40_000, 0.2, atol=0.01)
    pairs = torch.bincount((got[..., 0] * 5 + got[..., 1]).flatten(), minlength=25)
    np.testing.assert_allclose(pairs / 8000, 0.04, atol=0.01)


def test_draws_are_of_seed_epoch_region_and_view_alone():
    """Another batch around a region changes nothing; views, epochs and seeds differ."""
    tokens, key = Tokens(), (torch.tensor([2, 5]), 3)
    grids, tissue = tokens.features[[2, 5]], tokens.masks[[2, 5]]
    views, masks = [torch.zeros(2, 2, 3, 4, 4)] * 2, [torch.zeros(2, 2, 4, 4, dtype=torch.bool)] * 2
    both = RandTokenFill(9)(views, masks, grids, tissue, *key)
    alone = [x[:, 1:] for x in views], [x[:, 1:] for x in masks]
    alone = RandTokenFill(9)(*alone, grids[1:], tissue[1:], torch.tensor([5]), 3)
    assert all(torch.equal(a[:, 1:], b) for a, b in zip(both, alone, strict=True))
    drawn = [*both[0], *both[1], RandTokenFill(9)(views, masks, grids, tissue, key[0], 4)[0][0]]
    drawn.append(RandTokenFill(8)(views, masks, grids, tissue, *key)[0][0])
    assert all(not torch.equal(a, b) for i, a in enumerate(drawn) for b in drawn[:i])


def test_what_was_filled_is_shifted_as_the_rest():
    """A shift after it sees no gaps: every token of a filled view moves."""
    tokens = Tokens()
    tokens.features = tokens.features.nan_to_num()
    crops = RandTokenCropsd(n_global=1, global_size=6, n_local=0, mask_missing=True)
    filler = RandTokenFilld(crops, tokens, "tissue")
    batch = tokens.batch(torch.tensor([0, 4]))
    before, after = filler(batch)["views"][0], RandTokenShiftd(filler, tokens, "region", 1.0)(batch)["views"][0]
    assert bool((before != after).any(2).all())


def test_what_was_filled_is_neither_hidden_nor_counted():
    """Nobody could tell from the rest which token was drawn there; a region without any has nothing hidden."""
    tokens, regions = Tokens(), [0, 1, 2]
    crops = RandTokenCropsd(n_global=2, global_size=6, n_local=0, mask_missing=True, seed=2)
    masks = crops(tokens.batch(torch.tensor(regions)))["masks"][0]
    blocks = RandTokenBlocksd(RandTokenFilld(crops, tokens, "tissue", seed=2), 1.0, ratio=0.5, share=1.0)
    hidden = blocks(tokens.batch(torch.tensor(regions)))["hidden"]
    assert not bool((hidden & ~masks).any()) and not bool(masks[:, 1].any())
    assert torch.equal(hidden.flatten(2).sum(2), masks.flatten(2).sum(2) // 2) and bool(hidden.any())


def test_filled_and_masked_exclude_each_other():
    """One or the other; a kind that there is not is an error, too."""
    with pytest.raises(SettingError, match="exclude each other"):
        RandTokenFilld(RandTokenCropsd(), Tokens(), "tissue", "true")
    with pytest.raises(SettingError, match="none or tissue: got 'zeros'"):
        RandTokenFilld(RandTokenCropsd(), Tokens(), "zeros")
    for setting in ("auto", False, "false"):
        assert RandTokenFilld(RandTokenCropsd(), Tokens(), "tissue", setting).fill is not None
    assert RandTokenFilld(RandTokenCropsd(), None, "none", True).fill is None
