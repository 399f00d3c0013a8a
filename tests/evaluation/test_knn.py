"""Nearest-neighbor votes."""

import pytest
import reference
import torch

from bundle.evaluation import knn_predict
from bundle.evaluation.metrics import knn


@pytest.mark.parametrize("k", [1, 5, 100])
def test_votes_equal_the_loop(monkeypatch, k):
    """Shares of votes equal the loop's, also in blocks and when fewer vectors than k exist."""
    monkeypatch.setattr(knn, "_BLOCK_ELEMENTS", 50)
    torch.manual_seed(0)
    train, query, labels = torch.randn(20, 4), torch.randn(7, 4), torch.randint(0, 3, (20,))
    got = knn_predict(train, labels, query, k, n_classes=3)
    torch.testing.assert_close(got, torch.tensor(reference.knn_votes(train, labels, query, k, 3)), rtol=1e-5, atol=1e-5)


def test_excluded_vectors_do_not_vote():
    """A vector that is excluded for a query has no vote, and with all excluded the classes share equally."""
    train, labels = torch.tensor([[1.0, 0.0], [1.0, 1.0]]), torch.tensor([0, 1])
    got = knn_predict(train, labels, train, 1, n_classes=2, exclude=torch.eye(2, dtype=torch.bool))
    assert got.argmax(1).tolist() == [1, 0]
    got = knn_predict(train, labels, train, 1, n_classes=2, exclude=torch.ones(2, 2, dtype=torch.bool))
    torch.testing.assert_close(got, torch.full((2, 2), 0.5))


def test_nobody_to_vote_is_refused():
    """k = 0 and an empty training set raise."""
    with pytest.raises(ValueError, match="at least 1"):
        knn_predict(torch.eye(2), torch.tensor([0, 1]), torch.eye(2), 0, n_classes=2)
