"""Prototypes of many slides brought to common ones."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from .matching import assign_cosines

_SETS_AT_ONCE = 1 << 13  # assigning 8 to 8 takes 7 kB a set meanwhile


class MergedSets(NamedTuple):
    """Common prototypes of S sets.

    Attributes:
        vectors: L2-normalized, shape (M, d); each is the direction of the mean of those that belong to it.
        member: which common one each prototype belongs to, shape (S, K), int64, -1 where there is none; no two of a set
            belong to the same.
        similarity: cosine with it, shape (S, K); NaN where there is none.
    """

    vectors: Tensor
    member: Tensor
    similarity: Tensor


@torch.no_grad()
def merge_sets(
    prototypes: Tensor, valid: Tensor, n_merged: int, *, n_restarts: int = 5, n_iterations: int = 50, seed: int = 0
) -> MergedSets:
    """Find common prototypes: spherical K-means over all sets in which each set is assigned one-to-one [1].

    Each set's prototypes go to different common ones, by the optimal assignment; a common one becomes the mean of those
    it got. Both steps raise the sum of cosines, so that this ends. The best of several starts counts; those that no
    prototype belongs to are left out.

    Args:
        prototypes: L2-normalized, shape (S, K, d), finite.
        valid: which of them exist, shape (S, K), bool; at least one.
        n_merged: M, at least the size of the largest set; fewer where there are fewer prototypes.
        n_restarts: starts; in each, prototypes far from one another are drawn as the first common ones.
        n_iterations: most iterations of each.
        seed: of the draws.

    Raises:
        ValueError: no prototype, or a set is larger than ``n_merged``.

    References:
        [1] Dhillon, Modha, "Concept decompositions for large sparse text data using clustering", Machine Learning 2001
            (spherical K-means).
    """
    largest = int(valid.sum(1).max()) if len(valid) else 0
    if largest == 0 or n_merged < largest:
        raise ValueError(f"n_merged must be at least the largest set's size {largest}, which must be at least 1.")
    rows = prototypes[valid].double()
    n_merged = min(n_merged, len(rows))
    sets = torch.where(valid[..., None], prototypes, 0).double()
    draws = torch.Generator().manual_seed(seed)
    best: tuple[float, Tensor, Tensor, Tensor] | None = None
    for _ in range(n_restarts):
        vectors = _far_apart(rows, n_merged, draws)
        member, similarity = _assigned(sets, valid, vectors)
        for _ in range(n_iterations):
            vectors = _means(sets, member, vectors)
            before, (member, similarity) = member, _assigned(sets, valid, vectors)
            if torch.equal(member, before):
                break
        total = float(similarity[valid].sum())
        if best is None or total > best[0]:
            best = total, vectors, member, similarity
    assert best is not None
    _, vectors, member, similarity = best
    used, numbers = member[valid].unique(return_inverse=True)
    member = member.clone()
    member[valid] = numbers
    return MergedSets(vectors[used].to(prototypes.dtype), member, similarity.to(prototypes.dtype))


def _far_apart(rows: Tensor, n: int, draws: torch.Generator) -> Tensor:
    """``n`` of the rows, each drawn with a chance that grows with its distance to those before."""
    chosen = [int(torch.randint(len(rows), (1,), generator=draws))]
    distance = 1 - rows @ rows[chosen[0]]
    while len(chosen) < n:
        chance = distance.clamp(min=0) + 1e-12
        chance[chosen] = 0
        chosen.append(int(torch.multinomial(chance, 1, generator=draws)))
        distance = torch.minimum(distance, 1 - rows @ rows[chosen[-1]])
    return rows[chosen]


def _assigned(sets: Tensor, valid: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
    parts = zip(sets.split(_SETS_AT_ONCE), valid.split(_SETS_AT_ONCE), strict=True)
    members, similarities = zip(*(_assigned_together(*part, vectors) for part in parts), strict=True)
    return torch.cat(members), torch.cat(similarities)


def _assigned_together(sets: Tensor, valid: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
    cosines = torch.einsum("skd,md->skm", sets, vectors)
    partner = assign_cosines(cosines, valid, valid.new_ones(len(sets), len(vectors)))[1]
    similarity = cosines.gather(2, partner.clamp(min=0)[..., None])[..., 0]
    return partner, similarity.masked_fill(partner < 0, torch.nan)


def _means(sets: Tensor, member: Tensor, vectors: Tensor) -> Tensor:
    """Directions of the means; a common prototype that got none stays where it is."""
    flat, index = sets.flatten(0, 1), member.flatten()
    sums = torch.zeros_like(vectors).index_add_(0, index[index >= 0], flat[index >= 0])
    return torch.where(sums.norm(dim=1, keepdim=True) > 1e-9, normalize(sums, dim=1), vectors)
