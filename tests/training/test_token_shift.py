"""Views with another slide's stain: what is drawn, what it does, and what it leaves alone."""

import numpy as np
import pytest
import torch

from bundle.core import BundleError, SettingError
from bundle.training import RandTokenCropsd, RandTokenShiftd
from bundle.training.transforms.token_shift import RandTokenShift
from bundle.training.transforms.token_statistics import region_statistics, slide_statistics


class Tokens:
    """Five slides of three regions with means and spreads of their own, background at the left."""

    def __init__(self, dim=6, seed=0):
        rng = np.random.default_rng(seed)
        self.slide_index = torch.arange(5).repeat_interleave(3)
        own = rng.normal(size=(2, 5, 1, 1, 1, dim))
        tokens = rng.normal(size=(5, 3, 8, 8, dim)) * np.exp(0.4 * own[0]) + own[1]
        self.masks = torch.ones(15, 8, 8, dtype=torch.bool)
        self.masks[:, :, :2] = False
        self.features = torch.from_numpy(tokens.reshape(15, 8, 8, dim)).float() * self.masks[..., None]

    def read(self, indices):
        return self.features[torch.from_numpy(indices)]

    def tissue(self, slide):
        """Tissue tokens of a slide, float64 [n, D]."""
        return self.features[self.slide_index == slide][self.masks[self.slide_index == slide]].double().numpy()


def test_statistics_are_those_of_tissue():
    """Mean and standard deviation of a slide are numpy's over its tissue tokens; background does not count."""
    tokens = Tokens()
    means, spreads = slide_statistics(tokens)
    for slide in range(5):
        np.testing.assert_allclose(means[slide], tokens.tissue(slide).mean(0), atol=1e-5)
        np.testing.assert_allclose(spreads[slide], tokens.tissue(slide).std(0), atol=1e-5)
    tokens.features[1:3] = 100.0
    np.testing.assert_allclose(
        slide_statistics(tokens, 1)[0][0], tokens.features[0][tokens.masks[0]].mean(0), atol=1e-5
    )


def test_a_slide_without_tissue_is_like_the_others():
    """Its mean is the mean over the slides with tissue; with no tissue anywhere the error says so."""
    tokens = Tokens()
    tokens.masks[:3] = False
    means, _ = slide_statistics(tokens)
    torch.testing.assert_close(means[0], means[1:].mean(0))
    tokens.masks[:] = False
    with pytest.raises(BundleError, match="token_shift needs tissue"):
        slide_statistics(tokens)


def drawn(kind, n=20000, strength=1.0, slide=2, region_spread=False):
    """Gains and offsets [n, D] of one view of n regions of one slide."""
    means, spreads = slide_statistics(Tokens())
    shift = RandTokenShift(means, spreads, kind, strength, 3, region_statistics(Tokens()), region_spread)
    shift.randomize((torch.full((n,), slide), torch.arange(n), 7, 0))
    return means.double(), spreads.double(), shift.gain.double(), shift.offset.double()


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_covariance_is_that_between_slides(strength):
    """Over many draws the slide's mean and the logarithm of its spread move with numpy's covariances between slides."""
    means, spreads, gain, offset = drawn("covariance", strength=strength)
    moved = gain * means[2] + offset - means[2]
    for drawn_values, rows in ((moved, means), (gain.log(), spreads.log())):
        wanted = strength**2 * np.cov(rows.numpy(), rowvar=False)
        np.testing.assert_allclose(np.cov(drawn_values.numpy(), rowvar=False), wanted, atol=0.04 * wanted.max())
        np.testing.assert_allclose(drawn_values.mean(0), 0, atol=0.03 * np.sqrt(wanted.max()))


def within(rows):
    """Covariance [D, D] of rows [5 slides x 3 regions, D] around their slides' means, 15 - 5 degrees of freedom."""
    rows = rows.reshape(5, 3, -1)
    rest = (rows - rows.mean(1, keepdims=True)).reshape(15, -1)
    return rest.T @ rest / 10


def region_rows():
    """Mean and logarithm of the spread of each region's tissue, float64 [15, D] each."""
    tokens = Tokens()
    cut = [grid[mask].double().numpy() for grid, mask in zip(tokens.features, tokens.masks, strict=True)]
    return np.stack([x.mean(0) for x in cut]), np.log(np.stack([x.std(0) for x in cut]))


@pytest.mark.parametrize(("kind", "region_spread"), [("region", False), ("region", True), ("both", True)])
def test_regions_differ_as_within_slides(kind, region_spread):
    """Over many draws means move with the pooled covariance of region means within slides, and with ``both`` that
    between slides on top; spreads stay, or move likewise."""
    means, spreads, gain, offset = drawn(kind, strength=0.7, region_spread=region_spread)
    own_means, own_logs = region_rows()
    wanted = [within(own_means), within(own_logs) * region_spread]
    if kind == "both":
        wanted = [a + np.cov(b.numpy(), rowvar=False) for a, b in zip(wanted, (means, spreads.log()), strict=True)]
    for drawn_values, covariance in zip((gain * means[2] + offset - means[2], gain.log()), wanted, strict=True):
        covariance = 0.7**2 * covariance
        np.testing.assert_allclose(np.cov(drawn_values.numpy(), rowvar=False), covariance, atol=0.04 * covariance.max())
        np.testing.assert_allclose(drawn_values.mean(0), 0, atol=0.03 * np.sqrt(covariance.max()))
    assert region_spread or torch.equal(gain, torch.ones_like(gain))


def test_both_is_two_draws():
    """What a view gets of slides' differences is what ``covariance`` gives it, of regions' what ``region`` does."""
    (*_, gain, offset), (*_, first, slides), (*_, second, regions) = (
        drawn(kind, 50) for kind in ("both", "covariance", "region")
    )
    torch.testing.assert_close(gain, first * second)
    torch.testing.assert_close(offset, slides + regions, atol=1e-6, rtol=1e-5)
    assert abs(np.corrcoef(slides.flatten(), regions.flatten())[0, 1]) < 0.3


def test_regions_with_little_tissue_say_nothing():
    """The mean of a handful of tokens is no region's; slides of one region have nothing to compare."""
    tokens = Tokens()
    tokens.masks[1] = False
    tokens.masks[1, 0, :7] = True  # 7 of 64, less than an eighth
    found = region_statistics(tokens)
    assert found.slides.tolist() == [0, 0, *np.arange(1, 5).repeat(3)]
    np.testing.assert_allclose(found.means[1], tokens.features[2][tokens.masks[2]].mean(0), atol=1e-5)
    tokens.slide_index = torch.arange(15)
    with pytest.raises(BundleError, match="at least two regions that hold tissue"):
        region_statistics(tokens)


def test_swap_gives_another_slide_s_statistics():
    """At full strength mean and spread become exactly those of one other slide, each of the four about as often."""
    means, spreads, gain, offset = drawn("swap")
    distance = torch.cdist(torch.cat([gain * means[2] + offset, gain * spreads[2]], 1), torch.cat([means, spreads], 1))
    nearest, other = distance.min(1)
    assert float(nearest.max()) < 1e-5
    counts = torch.bincount(other, minlength=5) / len(other)
    assert counts[2] == 0
    np.testing.assert_allclose(counts[[0, 1, 3, 4]], 0.25, atol=0.02)


def test_half_a_swap_lies_between():
    """Strength 0.5 is the mean of the view and of its full swap; strength 0 changes nothing."""
    full, half, none = (drawn("swap", 50, strength)[2:] for strength in (1.0, 0.5, 0.0))
    for whole, part, own, start in zip(full, half, none, (1.0, 0.0), strict=True):
        torch.testing.assert_close(part, 0.5 * (whole + start))
        torch.testing.assert_close(own, torch.full_like(own, start))


@pytest.mark.parametrize("kind", ["covariance", "swap", "region", "both"])
def test_a_view_is_shifted_as_a_whole(kind):
    """Each view is one affine map of each channel, zeros stay zeros, views and epochs differ, batches do not matter."""
    tokens = Tokens()
    shift = RandTokenShift(*slide_statistics(tokens), kind, seed=1, regions=region_statistics(tokens))
    regions = torch.tensor([0, 4, 9, 14])
    data = {"features": tokens.features[regions], "region_id": regions, "epoch": 2}
    views = RandTokenCropsd(global_size=6, n_local=3, local_size=4)(data)["views"]
    got = shift(views, tokens.slide_index[regions], regions, 2)
    assert [x.shape for x in got] == [x.shape for x in views]
    number, drawn = 0, []
    for before, after in zip(views, got, strict=True):
        for view in range(len(before)):
            shift.randomize((tokens.slide_index[regions], regions, 2, number))
            for b in range(len(regions)):
                x, y = before[view, b].flatten(1).T, after[view, b].flatten(1).T
                is_token = x.any(1)
                torch.testing.assert_close(y[is_token], x[is_token] * shift.gain[b] + shift.offset[b])
                assert not y[~is_token].any()
            drawn.append(torch.cat([shift.gain, shift.offset], 1))
            number += 1
    assert all(not torch.equal(a, b) for i, a in enumerate(drawn) for b in drawn[:i]), "two views share a draw"
    alone = shift([group[:, 1:2] for group in views], tokens.slide_index[regions[1:2]], regions[1:2], 2)
    torch.testing.assert_close(alone[0], got[0][:, 1:2])
    assert not torch.equal(shift(views, tokens.slide_index[regions], regions, 3)[0], got[0])


def test_the_view_maker_is_wrapped():
    """``none`` hands on the crops and reads no token; with a kind, the views are shifted and their shapes stay."""
    tokens = Tokens()
    data = {"features": tokens.features, "region_id": torch.arange(15), "slide": tokens.slide_index, "epoch": 1}
    crops = RandTokenCropsd(global_size=6, n_local=1, local_size=4)
    plain = RandTokenShiftd(crops, None)(data)["views"]
    torch.testing.assert_close(plain, crops(data)["views"])
    shifted = RandTokenShiftd(crops, tokens, "covariance", seed=5)(data)["views"]
    wanted = RandTokenShift(*slide_statistics(tokens), seed=5)(plain, tokens.slide_index, torch.arange(15), 1)
    torch.testing.assert_close(shifted, wanted)
    shifted = RandTokenShiftd(crops, tokens, "region", 2.0, 5, "true")(data)["views"]
    other = RandTokenShift(*slide_statistics(tokens), "region", 2.0, 5, region_statistics(tokens), True)
    torch.testing.assert_close(shifted, other(plain, tokens.slide_index, torch.arange(15), 1))


def test_wrong_settings_are_refused():
    """An unknown kind, too much of a swap, and a single slide are errors that say what is allowed."""
    tokens = Tokens()
    with pytest.raises(SettingError, match="none, covariance, swap, region or both: got 'stain'"):
        RandTokenShiftd(RandTokenCropsd(), tokens, "stain")
    with pytest.raises(SettingError, match="token_shift_strength"):
        RandTokenShiftd(RandTokenCropsd(), tokens, "swap", 1.5)
    with pytest.raises(SettingError, match="needs the statistics of regions"):
        RandTokenShift(*slide_statistics(tokens), "region")
    tokens.slide_index[:] = 0
    with pytest.raises(SettingError, match=r"1 slide\(s\)"):
        RandTokenShiftd(RandTokenCropsd(), tokens, "swap")
    assert RandTokenShiftd(RandTokenCropsd(), tokens, "region").shift is not None
