"""Nearest-neighbor votes."""

import pytest
import torch

from bundle.evaluation import knn_predict


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
