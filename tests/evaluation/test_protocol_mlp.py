"""The MLP probe: what a linear one cannot find."""

import warnings

import numpy as np

from bundle.evaluation import LinearProbe, MLPProbe
from bundle.evaluation.protocols.inputs import Vectors


def checkers(n=160, seed=0):
    """Four groups at the corners of a square, those at opposite ones of a class; the other columns are noise."""
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 2, (n, 2))
    values = rng.normal(size=(n, 6)) * [1, 1, 1, 1, 50, 0]
    values[:, :2] += 6 * corners
    return Vectors(values.astype(np.float32)), corners[:, 0] ^ corners[:, 1]


def test_it_finds_what_no_line_parts():
    """Test accuracy above 0.9, where the linear probe is near chance; a column that is the same everywhere is fine."""
    vectors, targets = checkers()
    train, test = np.arange(120), np.arange(120, 160)
    accuracy = {}
    for probe in (MLPProbe(), LinearProbe()):
        scores = probe(vectors.take(train), targets[train], vectors.take(test), 2, 0)
        np.testing.assert_allclose(scores.sum(1), 1)
        accuracy[probe.name] = (scores.argmax(1) == targets[test]).mean()
    assert accuracy["mlp"] > 0.9 and accuracy["linear"] < 0.7


def test_units_do_not_matter():
    """Features in other units give the same scores: they are standardized by the training patients."""
    vectors, targets = checkers(40)
    scale = np.array([1, 1000, 0.01, 1, 5, 1], np.float32)
    first, other = (MLPProbe(n_epochs=20)(v, targets, v, 2, 0) for v in (vectors, Vectors(vectors.values * scale)))
    np.testing.assert_allclose(first, other, atol=1e-3)


def test_the_seed_decides_and_every_epoch_is_run():
    """Same seed, same scores; another seed, or another number of epochs, others; nothing is warned of."""
    vectors, targets = checkers(40)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first, again, other, longer = (
            MLPProbe(n_epochs=n)(vectors, targets, vectors, 2, seed)
            for n, seed in ((60, 1), (60, 1), (60, 2), (600, 1))
        )
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other) and not np.allclose(first, longer, atol=1e-3)
