"""Classification by the nearest neighbors."""

from __future__ import annotations

import torch
from torch import Tensor

_BLOCK_ELEMENTS = 1 << 24


@torch.no_grad()
def knn_predict(
    train: Tensor, labels: Tensor, query: Tensor, k: int, *, n_classes: int, exclude: Tensor | None = None
) -> Tensor:
    """Let the ``k`` most similar training vectors vote for their class, each with its cosine as weight.

    Args:
        train: vectors, shape (n, d); normalized here.
        labels: class of each, shape (n,), int64 in [0, n_classes).
        query: vectors to classify, shape (m, d); normalized here.
        k: voters, at least 1; fewer where fewer are allowed. Negative cosines count 0.
        n_classes: number of classes.
        exclude: shape (m, n), bool; True forbids a training vector to vote for a query (say, the same patient).

    Returns:
        Share of the votes of each class, shape (m, n_classes), in [0, 1], rows sum to 1; equal shares where nobody
        votes. ``argmax(1)`` is the predicted class.

    Raises:
        ValueError: ``k`` below 1, or no training vector.
    """
    if k < 1 or len(train) == 0:
        raise ValueError(f"k and the number of training vectors must be at least 1: got {k} and {len(train)}.")
    train, query = (torch.nn.functional.normalize(x.float(), dim=1) for x in (train, query))
    votes = torch.zeros(len(query), n_classes, device=query.device)
    block = max(1, _BLOCK_ELEMENTS // len(train))
    for start in range(0, len(query), block):
        part = slice(start, start + block)
        cosines = query[part] @ train.T
        if exclude is not None:
            cosines = cosines.masked_fill(exclude[part], -torch.inf)
        votes[part] = knn_vote(cosines, labels, k, n_classes)
    return votes


def knn_vote(similarity: Tensor, labels: Tensor, k: int, n_classes: int) -> Tensor:
    """The votes of :func:`knn_predict`, from similarities (m, n); -inf forbids to vote."""
    best, index = similarity.topk(min(k, len(labels)), dim=1)
    weight = best.clamp(min=0).nan_to_num(0.0)
    votes = similarity.new_zeros(len(similarity), n_classes).scatter_add(1, labels[index], weight)
    total = votes.sum(1, keepdim=True)
    return torch.where(total > 0, votes / total.clamp(min=torch.finfo(votes.dtype).tiny), 1.0 / n_classes)
