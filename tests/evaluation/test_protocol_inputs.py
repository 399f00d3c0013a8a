"""Features of patients can be indexed by patient, whatever they are made of."""

import numpy as np
import pytest
from made_tokens import MadeTokens
from sklearn.preprocessing import StandardScaler

from bundle.evaluation.protocols.inputs import Bags, PrototypeSets, TokenBags, Vectors
from bundle.evaluation.protocols.standard import Standardizer

SIZES = np.array([3, 1, 4, 2])
VALUES = np.arange(20, dtype=np.float32).reshape(10, 2)


def test_taking_bags_takes_their_regions():
    """Rows in any order, and twice: the regions of each come along in their order."""
    bags = Bags(VALUES, SIZES).take(np.array([2, 0, 2]))
    np.testing.assert_array_equal(bags.sizes, [4, 3, 4])
    np.testing.assert_array_equal(bags.values[:, 0] / 2, [4, 5, 6, 7, 0, 1, 2, 4, 5, 6, 7])
    np.testing.assert_array_equal(bags.owner, [0] * 4 + [1] * 3 + [2] * 4)


@pytest.mark.parametrize(
    "inputs",
    [Vectors(VALUES[:4]), Bags(VALUES, SIZES), PrototypeSets(VALUES[:8].reshape(4, 2, 2), np.ones((4, 2), bool))],
    ids=lambda inputs: inputs.kind,
)
def test_taking_all_changes_nothing(inputs):
    """Every kind: taking every row gives equal arrays."""
    taken = inputs.take(np.arange(4))
    assert len(inputs) == len(taken) == 4
    for before, after in zip(inputs.arrays(), taken.arrays(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_bags_of_tokens_are_read_when_they_are_asked_for():
    """Choosing patients and a fingerprint read nothing; chunks hold every token once, in order, few at a time."""
    source = MadeTokens(12, counts=[5, 0, 9, 3, 0, 0, 7, 2, 4, 4, 4, 4])
    bags = TokenBags(source, [np.arange(0, 4), np.arange(4, 6), np.arange(6, 12)]).take(np.array([2, 1, 0]))
    assert [array.tolist() for array in bags.arrays()[1:]] == [[*range(6, 12), 4, 5, *range(4)], [6, 2, 4]]
    assert bags.arrays()[0].tobytes() == b"made 12" and source.n_read == 0 and len(bags) == 3
    for row, regions in enumerate([[6, 7, 8, 9, 10, 11], [], [0, 2, 3]]):
        chunks = list(bags.chunks(row, 8))
        assert all(len(chunk) < 8 + 9 for chunk in chunks)
        expected = [source.of_region(region) for region in regions]
        np.testing.assert_array_equal(
            np.concatenate([np.zeros((0, 8)), *chunks]), np.concatenate([*expected, np.zeros((0, 8))])
        )
    assert len(list(bags.chunks(0, 8))) == 4 and list(bags.chunks(1, 8)) == []


def test_a_draw_takes_as_many_tokens_as_it_may():
    """Different ones in every draw, each at most once, regions about equally often; a smaller bag is taken whole."""
    source = MadeTokens(20, largest=9)
    bags, size = TokenBags(source, [np.arange(20)]), int(source.counts.sum())
    everything = source.read(np.arange(20))
    region_of = {
        token.tobytes(): region
        for token, region in zip(everything, np.repeat(np.arange(20), source.counts), strict=True)
    }
    assert len(region_of) == size
    np.testing.assert_array_equal(bags.sample(0, size, 0, 0), everything)
    drawn = np.zeros(20)
    for draw in range(400):
        tokens = bags.sample(0, 30, 1, draw)
        keys = [token.tobytes() for token in tokens]
        assert len(tokens) == len(set(keys)) == 30
        np.add.at(drawn, [region_of[key] for key in keys], 1)
    np.testing.assert_array_equal(tokens, bags.sample(0, 30, 1, 399))
    assert not np.array_equal(tokens, bags.sample(0, 30, 2, 399))
    share = drawn / (400 * source.counts)
    assert np.abs(share - 30 / size).max() < 0.12


def test_standardizing_is_a_rotation_of_what_scikit_learn_does():
    """Inner products of rows, new ones included, equal those after scikit-learn's scaler; flat features vanish."""
    rng = np.random.default_rng(0)
    train, new = rng.normal(size=(9, 14)).astype(np.float32) * 5 + 2, rng.normal(size=(4, 14)).astype(np.float32)
    train[:, 3] = new[:, 3] = 0.1
    ours, theirs = Standardizer().fit(train), StandardScaler().fit(train.astype(np.float64))
    known, unknown = (theirs.transform(rows.astype(np.float64)) for rows in (train, new))
    np.testing.assert_allclose(ours.transform(train) @ ours.transform(train).T, known @ known.T, atol=1e-8)
    np.testing.assert_allclose(ours.transform(new) @ ours.transform(train).T, unknown @ known.T, atol=1e-8)
    assert ours.transform(train).shape == (9, 8), "as many axes as the rows span"
