"""Which tokens are hidden from a student."""

import pytest
import torch

from bundle.parallel import keyed_uniforms
from bundle.training import RandTokenBlocksd, RandTokenCropsd
from bundle.training.transforms.token_blocks import RandTokenBlocks, _blocks

IDS = torch.arange(40) * 7
SIDE = 14


def _present(share=1.0):
    return torch.rand(2, len(IDS), SIDE, SIDE, generator=torch.Generator().manual_seed(0)) < share


@pytest.mark.parametrize("share_present", [1.0, 0.4, 0.0])
def test_so_many_tokens_are_hidden_as_were_drawn(share_present):
    """Of those that are there alone, and exactly: the ratio times their number, rounded down."""
    present, blocks = _present(share_present), RandTokenBlocks(share=1.0, seed=3)
    hidden = blocks(present, IDS, 5)
    assert not bool((hidden & ~present).any())
    draws = keyed_uniforms(3, 5, IDS, 5 << 20, 2, 2).double()
    wanted = ((0.1 + 0.4 * draws[..., 1]) * present.flatten(2).sum(2)).long()
    assert torch.equal(hidden.flatten(2).sum(2), wanted) and (share_present == 0 or wanted.min() < wanted.max())


def test_a_share_of_the_views_has_hidden_tokens():
    """About half by default; none and all where asked."""
    ids = torch.arange(500)
    present = torch.ones(2, 500, 6, 6, dtype=torch.bool)
    for share, low, high in [(0.5, 0.45, 0.55), (0.0, 0, 0), (1.0, 1, 1)]:
        hidden = RandTokenBlocks(share=share)(present, ids, 1).flatten(2).any(2)
        assert low <= float(hidden.double().mean()) <= high
    assert not torch.equal(*RandTokenBlocks()(present, ids, 1)), "both views have the same tokens hidden"


def test_a_view_is_hidden_alike_in_any_batch():
    """Other regions, another order, other missing tokens elsewhere: the same; another epoch or seed: others."""
    present, some = _present(0.7), torch.tensor([31, 2, 17])
    hidden = RandTokenBlocks(seed=1)(present, IDS, 2)
    again = RandTokenBlocks(seed=1)(present[:, some], IDS[some], 2)
    assert torch.equal(hidden[:, some], again)
    assert not torch.equal(hidden, RandTokenBlocks(seed=1)(present, IDS, 3))
    assert not torch.equal(hidden, RandTokenBlocks(seed=2)(present, IDS, 2))


def test_a_block_is_one():
    """A full rectangle of at most so many cells, of aspects from .3 to 1 / .3, up to rounding, with a free cell."""
    torch.manual_seed(0)
    free = _present(0.3)
    left = torch.randint(1, 60, (2, len(IDS)))
    blocks = _blocks(free, left, torch.rand(2, len(IDS), 5, dtype=torch.float64))
    rows, columns = blocks.any(3), blocks.any(2)
    assert torch.equal(rows.unsqueeze(-1) & columns.unsqueeze(-2), blocks), "no rectangle"
    for lines in (rows, columns):
        assert bool(((lines[..., 1:] != lines[..., :-1]).sum(-1) <= 2).all()), "holes"
    height, width, area = rows.sum(2), columns.sum(2), blocks.flatten(2).sum(2)
    assert bool((area <= left).all()) and bool((free & blocks).flatten(2).any(2).all())
    large = left >= 16
    assert bool((area[left >= 4] >= 2).all()) and float((height / width)[large].max()) > 2
    assert 0.25 < float((height / width)[large & (area >= 12)].min()) < 0.5


def test_hidden_tokens_hang_together():
    """A hidden token has more hidden neighbors than tokens hidden one by one would have."""
    hidden = RandTokenBlocks((0.3, 0.3), share=1.0)(_present(), IDS, 1)
    right = hidden[..., 1:][hidden[..., :-1]].double().mean()
    assert float(right) > 0.7, "one by one it is .3"


@pytest.mark.parametrize("mask_missing", [False, True])
def test_a_view_maker_says_what_is_hidden(mask_missing):
    """In the first group, of tokens that its crops show; without a weight nothing is said."""
    batch = {"features": torch.randn(5, 16, 16, 3), "region_id": torch.arange(5), "epoch": 1}
    batch["present"] = torch.rand(5, 16, 16) < 0.5
    crops = RandTokenCropsd(mask_missing=mask_missing)
    made = RandTokenBlocksd(crops, weight=0.5, share=1.0)(batch)
    assert made["hidden"].shape == (2, 5, 14, 14) and bool(made["hidden"].flatten(2).any(2).all())
    assert bool((made["hidden"] & ~made["masks"][0]).any()) is False if mask_missing else "masks" not in made
    assert "hidden" not in RandTokenBlocksd(crops)(batch)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ratio": [0.5, 0.1]}, "mask_ratio goes from the lower"),
        ({"ratio": [0.1, 1.5]}, "mask_ratio must be a share"),
        ({"ratio": [0.1]}, "mask_ratio must be a share"),
        ({"ratio": "half"}, "mask_ratio must be a share"),
        ({"share": 2}, "mask_share is 2"),
        ({"weight": -1}, "mask_weight is -1"),
    ],
)
def test_a_setting_out_of_range_is_refused(options, message):
    """Each says its id, whether there is a weight or not."""
    with pytest.raises(ValueError, match=message):
        RandTokenBlocksd(dict, **options)
