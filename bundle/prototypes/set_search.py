"""The prototype sets that match a few given ones best."""

from __future__ import annotations

import torch
from torch import Tensor

from ..parallel import full_precision
from .matching import assign_cosines, similarity_bound
from .neighbor_search import slices

_BLOCK_ELEMENTS = {"cpu": 1 << 24, "cuda": 1 << 27}


@torch.no_grad()
@full_precision()
def nearest_sets(
    queries: Tensor,
    queries_valid: Tensor,
    prototypes: Tensor,
    valid: Tensor,
    n_neighbors: int,
    *,
    usable: Tensor | None = None,
    leave_out: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The ``n_neighbors`` of S prototype sets that match each of a few queries best, exactly, streamed over the sets.

    Queries may have another number of prototypes than the sets. Only sets whose upper bound reaches what a query has
    already are assigned.

    Args:
        queries: L2-normalized, shape (Q, K, d).
        queries_valid: which of them exist, shape (Q, K), bool.
        prototypes: L2-normalized, shape (S, L, d), finite.
        valid: which of them exist, shape (S, L), bool.
        n_neighbors: R, at least 1; may exceed S.
        usable: sets that may be found, shape (S,), bool; None: all.
        leave_out: a set that each query passes over, shape (Q,), int64; None: none.

    Returns:
        Sets (Q, R), best first, -1 where there are no more; their similarities (Q, R), -inf there.
    """
    n_queries, n_cosines = len(queries), queries.shape[1] * prototypes.shape[1]
    index = torch.full((n_queries, n_neighbors), -1, dtype=torch.long, device=queries.device)
    similarity = queries.new_full((n_queries, n_neighbors), -torch.inf)
    elements = _BLOCK_ELEMENTS.get(prototypes.device.type, _BLOCK_ELEMENTS["cuda"])
    for sets in slices(0, len(prototypes), max(1, elements // max(1, n_queries * n_cosines))):
        cosines = torch.einsum("qkd,tld->qtkl", queries, prototypes[sets])
        number = torch.arange(sets.start, sets.start + cosines.shape[1], device=queries.device)
        allowed = torch.ones_like(number, dtype=torch.bool) if usable is None else usable[sets]
        allowed = (allowed & valid[sets].any(1)).expand(n_queries, -1)
        if leave_out is not None:
            allowed = allowed & (number != leave_out[:, None])
        there = valid[sets].expand(n_queries, -1, -1)
        scores = _similarities(cosines, queries_valid, there, allowed, n_neighbors, similarity[:, -1:])
        scores = torch.cat([similarity, scores], 1)
        numbers = torch.cat([index, number.expand(n_queries, -1)], 1)
        similarity, place = scores.topk(n_neighbors, dim=1)
        index = numbers.gather(1, place)
    return torch.where(similarity > -torch.inf, index, -1), similarity


def _similarities(
    cosines: Tensor, a_valid: Tensor, b_valid: Tensor, usable: Tensor, n_neighbors: int, least: Tensor
) -> Tensor:
    """Similarities (q, t), -inf for pairs that are not usable or cannot be among the best R of their query.

    Args:
        cosines: (q, t, K, L).
        a_valid: of the queries, (q, K).
        b_valid: of the others, (q, t, L).
        usable: (q, t).
        n_neighbors: R.
        least: a similarity (q, 1) that counts no more.
    """
    a_valid = a_valid[:, None].expand(-1, b_valid.shape[1], -1)
    products = cosines.masked_fill(~(a_valid[..., None] & b_valid[..., None, :]), 0)
    bound = similarity_bound(products, (a_valid.sum(-1), b_valid.sum(-1))).masked_fill_(~usable, -torch.inf)
    found = torch.full_like(bound, -torch.inf)
    first = bound.topk(min(n_neighbors, bound.shape[1]), dim=1).indices
    rows = torch.arange(len(bound), device=bound.device)[:, None].expand_as(first)
    exact = assign_cosines(*(x[rows, first].flatten(0, 1) for x in (cosines, a_valid, b_valid)))[0]
    exact = exact.view_as(first).masked_fill(~usable[rows, first], -torch.inf)
    found[rows, first] = exact
    threshold = torch.maximum(exact.amin(1, keepdim=True), least)
    wanted = (bound >= threshold) & (bound > -torch.inf)
    wanted[rows, first] = False
    i, j = wanted.nonzero(as_tuple=True)
    found[i, j] = assign_cosines(cosines[i, j], a_valid[i, j], b_valid[i, j])[0]
    return found
