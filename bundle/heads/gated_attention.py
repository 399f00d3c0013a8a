"""Attention within bags of any size."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class GatedAttention(nn.Module):
    """Bags of any size in one flat tensor: attention within each bag, then a linear layer [1].

    MONAI's ``MILModel`` takes images in bags of one size, because it has no mask; regions of a slide are embedded
    already, and slides have between one and hundreds of them.

    Args:
        in_dim: width of a region's embedding, or of a token.
        n_classes: C, classes or whatever else the outputs stand for.
        hidden: width of the bag's embedding.
        dropout: of regions' embeddings, in [0, 1).

    References:
        [1] Ilse, Tomczak, Welling, "Attention-based deep multiple instance learning", ICML 2018, eq. 9.
    """

    def __init__(self, in_dim: int, n_classes: int, hidden: int = 64, dropout: float = 0.25) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(in_dim, hidden), nn.ReLU(), nn.Dropout(dropout))
        self.content, self.gate = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)
        self.score = nn.Linear(hidden, 1)
        self.classify = nn.Linear(hidden, n_classes)

    def forward(self, regions: Tensor, owner: Tensor, n_bags: int) -> tuple[Tensor, Tensor]:
        """Regions (M, in_dim) of bags ``owner`` (M,) -> logits (n_bags, C) and attention (M,), 1 in sum over a bag."""
        hidden, score = self._scored(regions)
        largest = score.new_full((n_bags,), -torch.inf).scatter_reduce(0, owner, score.detach(), "amax")
        weight = (score - largest[owner]).exp()
        attention = weight / weight.new_zeros(n_bags).index_add(0, owner, weight)[owner]
        bag = hidden.new_zeros(n_bags, hidden.shape[1]).index_add(0, owner, hidden * attention[:, None])
        return self.classify(bag), attention

    def of_chunks(self, chunks: Iterable[Tensor]) -> Tensor:
        """Logits (C,) of one bag that comes in chunks (m, in_dim), of which one at a time is held.

        Sums are kept relative to the largest score so far and shrink when a larger one comes, so that the softmax is
        that over the whole bag. A bag without regions is a vector of zeros, as it is to ``forward``.
        """
        like = self.score.weight
        largest, total, bag = like.new_full((), -torch.inf), like.new_zeros(()), like.new_zeros(like.shape[1])
        for chunk in chunks:
            hidden, score = self._scored(chunk)
            before, largest = largest, torch.maximum(largest, score.max())
            weight, shrink = (score - largest).exp(), (before - largest).exp()
            total = total * shrink + weight.sum()
            bag = bag * shrink + weight @ hidden
        return self.classify(bag / total if total > 0 else bag)

    def _scored(self, regions: Tensor) -> tuple[Tensor, Tensor]:
        """Embedded regions (M, hidden), and what attention is the softmax of, (M,)."""
        hidden = self.embed(regions)
        return hidden, self.score(self.content(hidden).tanh() * self.gate(hidden).sigmoid())[:, 0]
