"""What the planted token cohort promises to the tests that build on it."""

import numpy as np
import pytest

from bundle.core import BundleError
from bundle.demo import planted_tokens


def _vote(features: np.ndarray, labels: np.ndarray, k: int = 3) -> float:
    """Accuracy of leave-one-out k nearest neighbors by Euclidean distance."""
    distance = np.linalg.norm(features[:, None] - features[None], axis=-1) + np.diag(np.full(len(labels), np.inf))
    return float(((labels[distance.argsort(axis=1)[:, :k]].mean(axis=1) > 0.5) == labels).mean())


def _mean_tokens(cohort) -> np.ndarray:
    return np.stack([slide.features[slide.mask].mean(axis=0, dtype=np.float32) for slide in cohort.slides])


def test_arrays_are_what_a_token_file_holds():
    """Shapes, dtypes, zeros where the mask is False, region counts in the asked range, distinct coordinates."""
    cohort = planted_tokens(5, (2, 7), dim=24, seed=3)
    for slide in cohort.slides:
        n = len(slide.coords)
        assert 2 <= n <= 7 and slide.prototype.shape == (n,)
        assert slide.features.shape == (n, 16, 16, 24) and slide.features.dtype == np.float16
        assert slide.mask.shape == (n, 16, 16) and slide.mask.dtype == bool and slide.coords.dtype == np.int64
        assert not slide.features[~slide.mask].any() and np.abs(slide.features[slide.mask]).sum(axis=-1).min() > 0
        assert len(np.unique(slide.coords, axis=0)) == n
    assert [slide.label for slide in cohort.slides] == [0, 1, 0, 1, 0]


def test_the_same_seed_gives_the_same_tokens():
    """Two calls agree bit by bit; another seed gives other tokens."""
    first, second, other = (planted_tokens(2, 3, 8, seed=s).slides[1].features for s in (1, 1, 2))
    assert np.array_equal(first, second) and not np.array_equal(first, other)


def test_shares_are_planted_as_said():
    """Without noise and background a region holds each token type in its prototype's share."""
    cohort = planted_tokens(2, 6, 32, seed=0, noise=0.0, slide_shift=0.0, background=0.0)
    for slide in cohort.slides:
        kind = (slide.features.astype(np.float32) @ cohort.types.T).argmax(-1).reshape(6, -1)
        counted = np.stack([np.bincount(k, minlength=len(cohort.types)) / 256 for k in kind])
        assert np.abs(counted - cohort.shares[slide.prototype]).max() < 2 / 256


def test_label_is_in_the_arrangement():
    """With `proportion=0` the mean token is near chance, and how often neighbors agree tells the labels apart."""
    cohort = planted_tokens(40, 8, 32, seed=0, proportion=0.0)
    labels = np.array([slide.label for slide in cohort.slides])
    mean = _mean_tokens(cohort)
    agreement = np.stack(
        [
            [np.mean(np.einsum("rhwd,rhwd->rhw", x[:, :, 1:], x[:, :, :-1], dtype=np.float32))]
            for x in (
                (s.features - mean[i].astype(np.float16)) * s.mask[..., None] for i, s in enumerate(cohort.slides)
            )
        ]
    )
    assert _vote(mean, labels) < 0.7
    assert _vote(agreement, labels) > 0.9


def test_proportion_adds_to_the_signal():
    """With `proportion=1` and no offset between slides even the mean token tells the labels apart."""
    cohort = planted_tokens(40, 8, 32, seed=0, proportion=1.0, slide_shift=0.0)
    labels = np.array([slide.label for slide in cohort.slides])
    mean = _mean_tokens(cohort)
    assert _vote(mean, labels) > 0.9


def test_impossible_wishes_are_refused():
    """An odd number of prototypes is an error that says so."""
    with pytest.raises(BundleError, match="n_prototypes must be even"):
        planted_tokens(2, 3, 8, n_prototypes=3)


NUISANCE = {"slide_shift": 0.4, "slide_gain": 0.2, "n_sites": 3, "site_shift": 0.5, "site_gain": 0.1}


def test_stains_change_nothing_else():
    """With shifts, gains and sites a slide is the same slide, each channel times a gain, plus an offset."""
    plain = planted_tokens(6, 4, 8, seed=5, slide_shift=0.0)
    stained = planted_tokens(6, 4, 8, seed=5, **NUISANCE)
    for before, after in zip(plain.slides, stained.slides, strict=True):
        assert np.array_equal(before.prototype, after.prototype) and np.array_equal(before.mask, after.mask)
        for channel in range(8):
            x, y = (slide.features[slide.mask][:, channel].astype(np.float64) for slide in (before, after))
            gain, offset = np.polyfit(x, y, 1)
            assert np.abs(gain * x + offset - y).max() < 0.01


def test_proportion_leaves_the_slides_alone():
    """Cohorts of two proportions have the same prototypes and masks: levels of difficulty are nested."""
    for a, b in zip(*(planted_tokens(4, 3, 8, seed=2, proportion=p).slides for p in (0.0, 1.0)), strict=True):
        assert np.array_equal(a.prototype, b.prototype) and np.array_equal(a.mask, b.mask)


def test_sites_know_no_label():
    """Every site has as many slides of one label as of the other, and slides of a site look alike."""
    cohort = planted_tokens(24, 6, 16, seed=1, proportion=0.0, slide_shift=0.1, n_sites=3, site_shift=1.0)
    labels, sites = (np.array([getattr(slide, name) for slide in cohort.slides]) for name in ("label", "site"))
    assert [(labels[sites == site] == 0).sum() for site in range(3)] == [4, 4, 4]
    assert [(labels[sites == site] == 1).sum() for site in range(3)] == [4, 4, 4]
    means = _mean_tokens(cohort)
    distance = np.linalg.norm(means[:, None] - means[None], axis=-1) + np.diag(np.full(24, np.inf))
    assert (sites[distance.argmin(axis=1)] == sites).mean() > 0.9


def test_cells_mix_types_within_a_token():
    """Several places a token keep each prototype's mean and take the spread from finely mixed ones alone."""
    kwargs = {"seed": 3, "proportion": 0.0, "noise": 0.0, "slide_shift": 0.0, "background": 0.0, "region_patches": 8}
    cohort = planted_tokens(8, 12, 32, cells=4, **kwargs)
    pure = {0: [], 1: []}
    for slide in cohort.slides:
        for region, prototype in zip(slide.features.astype(np.float32), slide.prototype, strict=True):
            expected = cohort.shares[prototype] @ cohort.types
            np.testing.assert_allclose(region.mean(axis=(0, 1)), expected, atol=0.01)
            pure[prototype % 2].append((region @ cohort.types.T).max(axis=-1).mean())
    assert np.mean(pure[0]) > np.mean(pure[1]) + 0.1


def test_pairs_are_taken_in_turn():
    """With `in_turn` each slide has as many regions of a pair as of the other, and the label is in the odd share."""
    cohort = planted_tokens(40, 12, 8, seed=4, purity=0.9, in_turn=True)
    for slide in cohort.slides:
        assert np.bincount(slide.prototype // 2).tolist() == [6, 6]
    odd = np.array([(slide.prototype % 2).mean() for slide in cohort.slides])
    labels = np.array([slide.label for slide in cohort.slides])
    np.testing.assert_allclose([odd[labels == 0].mean(), odd[labels == 1].mean()], [0.1, 0.9], atol=0.06)


def test_concentrated_pairs_are_alike():
    """The larger the concentration, the closer the shares of types of all prototypes."""
    spread = [
        planted_tokens(1, 2, 8, seed=6, n_prototypes=20, concentration=c).shares.std(axis=0).mean() for c in (0.8, 8)
    ]
    assert spread[1] < 0.5 * spread[0]


def test_a_region_s_own_shift():
    """Each region is the same region plus a constant of the length that was asked for, in a direction of its own."""
    plain, shifted = (planted_tokens(3, 4, 16, seed=5, region_shift=length) for length in (0.0, 0.85))
    found = []
    for before, after in zip(plain.slides, shifted.slides, strict=True):
        assert np.array_equal(before.prototype, after.prototype) and np.array_equal(before.mask, after.mask)
        for x, y, mask in zip(before.features, after.features, before.mask, strict=True):
            moved = (y[mask].astype(np.float64) - x[mask]).mean(0)
            assert np.abs(y[mask].astype(np.float64) - x[mask] - moved).max() < 0.004
            found.append(moved)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 0.85, atol=1e-3)
    cosines = np.corrcoef(found) - np.eye(12)
    assert np.abs(cosines).max() < 0.95 and abs(cosines.mean()) < 0.1
