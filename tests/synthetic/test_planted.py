"""What the planted token cohort promises to the tests that build on it."""

import numpy as np
import pytest

from bundle.cohort import BundleError
from bundle.synthetic import planted_tokens


def _vote(features: np.ndarray, labels: np.ndarray, k: int = 3) -> float:
    """Accuracy of leave-one-out k nearest neighbors by Euclidean distance."""
    distance = np.linalg.norm(features[:, None] - features[None], axis=-1) + np.diag(np.full(len(labels), np.inf))
    return float(((labels[distance.argsort(axis=1)[:, :k]].mean(axis=1) > 0.5) == labels).mean())


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
    mean = np.stack([slide.features[slide.mask].mean(axis=0, dtype=np.float32) for slide in cohort.slides])
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
    mean = np.stack([slide.features[slide.mask].mean(axis=0, dtype=np.float32) for slide in cohort.slides])
    assert _vote(mean, labels) > 0.9


def test_impossible_wishes_are_refused():
    """An odd number of prototypes is an error that says so."""
    with pytest.raises(BundleError, match="n_prototypes must be even"):
        planted_tokens(2, 3, 8, n_prototypes=3)
