"""kNN as a protocol: vectors by cosine, sets of prototypes by their best matching."""

from itertools import permutations

import numpy as np
import pytest

from bundle.evaluation import NearestNeighbors
from bundle.evaluation.metrics import knn
from bundle.evaluation.protocols.inputs import Bags, PrototypeSets, Vectors


def unit(values):
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def vote(similarity, targets, k, n_classes):
    """One query, slowly: the k most similar vote with their similarity, nobody with less than 0."""
    votes = np.zeros(n_classes)
    for i in np.argsort(-similarity)[:k]:
        votes[targets[i]] += max(similarity[i], 0)
    return votes / votes.sum()


@pytest.mark.parametrize("k", [1, 4, 50])
def test_vectors_vote_by_cosine(k, monkeypatch):
    """Scores equal a loop over queries, in blocks; more neighbors than patients are as many as there are."""
    monkeypatch.setattr(knn, "_BLOCK_ELEMENTS", 50)
    rng = np.random.default_rng(1)
    train, test = (rng.normal(size=(n, 6)).astype(np.float32) + 0.8 for n in (20, 7))
    targets = rng.integers(0, 3, 20)
    scores = NearestNeighbors(k)(Vectors(train), targets, Vectors(test), 4, 0)
    expected = [vote(unit(train) @ unit(query), targets, k, 4) for query in test]
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    assert scores.shape == (7, 4), "a class that nobody has gets a column, too"


def test_sets_vote_by_the_best_matching():
    """Scores equal a loop over queries, patients and permutations; sets of different size match the smaller one's."""
    rng = np.random.default_rng(2)
    values, sizes = unit(rng.normal(size=(14, 3, 5)) + 0.7).astype(np.float32), rng.integers(1, 4, 14)
    valid = np.arange(3) < sizes[:, None]
    sets, targets = PrototypeSets(values * valid[..., None], valid), rng.integers(0, 2, 9)

    def similarity(i, j):
        small, large = sorted((values[i, : sizes[i]], values[j, : sizes[j]]), key=len)
        return max(np.mean([a @ b for a, b in zip(small, order, strict=False)]) for order in permutations(large))

    scores = NearestNeighbors(3)(sets.take(np.arange(9)), targets, sets.take(np.arange(9, 14)), 2, 0)
    for query in range(9, 14):
        expected = vote(np.array([similarity(query, other) for other in range(9)]), targets, 3, 2)
        np.testing.assert_allclose(scores[query - 9], expected, atol=1e-5)


def test_two_kinds_are_not_compared():
    """A bag is no vector."""
    vectors = Vectors(np.ones((2, 3), np.float32))
    with pytest.raises(TypeError, match="two of a kind"):
        NearestNeighbors()(vectors, np.array([0, 1]), Bags(np.ones((2, 3), np.float32), np.array([1, 1])), 2, 0)
