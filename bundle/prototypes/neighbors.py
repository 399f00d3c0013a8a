"""Most similar slides, by exact matching of their prototypes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from ..parallel import full_precision
from .matching import assign_cosines, best_assignment
from .neighbor_search import NeighborSearch, slices

_BLOCK_ELEMENTS = 1 << 21


class Neighbors(NamedTuple):
    """The R most similar other slides of each of S slides, best first; of equal ones the lower index comes first.

    Attributes:
        index: slide index, shape (S, R), int64, -1 where there is no further slide with prototypes.
        similarity: mean cosine of the matched prototypes, shape (S, R), in [-1, 1]; -inf where ``index`` is -1.
        partner: for each prototype its partner in the neighbor, shape (S, R, K), int64, -1 where it has none.
    """

    index: Tensor  # type: ignore[assignment]  # a tuple has a method of that name
    similarity: Tensor
    partner: Tensor


@torch.no_grad()
@full_precision()
def nearest_slides(
    prototypes: Tensor,
    valid: Tensor,
    n_neighbors: int,
    *,
    match: Literal["assignment", "nearest"] = "assignment",
    share: tuple[int, int] = (0, 1),
    progress: Callable[[Sequence[Any]], Iterable[Any]] = iter,
) -> Neighbors:
    """Find for each slide the ``n_neighbors`` others whose prototypes match its own best [1].

    Exact and streamed: products of blocks of prototypes (upper triangle only; in few dimensions where most of their
    length lies there) give an upper bound of each similarity, the smaller of the summed row maxima and the summed
    column maxima; only pairs whose bound reaches what the slide already has are assigned. Memory is O(S R) and a block,
    which holds R + 1 prototype sets for each of its slides. Up to 4,095 slides that all have the same K up to three are
    compared by all bijections in place of bounds, 64 MiB for as many. Slides without a valid prototype neither have nor
    are neighbors.

    Args:
        prototypes: L2-normalized, shape (S, K, d); where they are valid, finite.
        valid: which of them exist, shape (S, K), bool.
        n_neighbors: R, at least 0.
        match: partner of a prototype: its match in the best bijection (the paper), or "nearest", the most similar one
            in the neighbor, so that two may share a partner (the authors' implementation).
        share: (number, of): compare this share of all pairs alone; :func:`merged_neighbors` of all shares is the
            result. For work on several processes.
        progress: wraps the sequence of the steps of the search, as ``tqdm`` does.

    Raises:
        ValueError: an unknown ``match``, a negative ``n_neighbors`` or a share that does not exist.

    References:
        [1] Yu, Lin, Xu, "SLPD", MICCAI 2023: inter-slide distillation.
    """
    if match not in ("assignment", "nearest"):
        raise ValueError(f'match must be "assignment" or "nearest": got {match!r}.')
    if n_neighbors < 0:
        raise ValueError(f"n_neighbors must be at least 0: got {n_neighbors}.")
    if not 0 <= share[0] < share[1]:
        raise ValueError(f"share must be (number, of) with 0 <= number < of: got {share}.")
    members = valid.any(1).nonzero()[:, 0]
    index = torch.full((len(valid), n_neighbors), -1, dtype=torch.long, device=prototypes.device)
    dtype = torch.float64 if prototypes.dtype == torch.float64 else torch.float32
    similarity = torch.full((len(valid), n_neighbors), -torch.inf, dtype=dtype, device=prototypes.device)
    n_found = min(n_neighbors, len(members) - 1)
    if n_found > 0:
        is_all = len(members) == len(valid)
        search = NeighborSearch((prototypes if is_all else prototypes[members]).to(dtype), valid[members], n_found)
        search.run(progress(search.rows(*share)))
        index[members, :n_found] = torch.where(search.similarity > -torch.inf, members[search.index], -1)
        similarity[members, :n_found] = search.similarity
    return Neighbors(index, similarity, _partners(prototypes.to(dtype), valid, index, match))


def merged_neighbors(shares: Neighbors) -> Neighbors:
    """Neighbors of all pairs, from those that each of W shares of the pairs found.

    Args:
        shares: as :class:`Neighbors`, each tensor with a first dimension of W.
    """
    n_neighbors = shares.index.shape[2]
    index = shares.index.transpose(0, 1).flatten(1)
    similarity = shares.similarity.transpose(0, 1).flatten(1)
    order = index.argsort(dim=1, stable=True)
    order = order.gather(1, similarity.gather(1, order).argsort(dim=1, stable=True, descending=True))[:, :n_neighbors]
    partner = shares.partner.transpose(0, 1).flatten(1, 2)
    partner = partner.gather(1, order[..., None].expand(-1, -1, partner.shape[2]))
    return Neighbors(index.gather(1, order), similarity.gather(1, order), partner)


def _partners(prototypes: Tensor, valid: Tensor, index: Tensor, match: str) -> Tensor:
    """Partner (S, R, K) of each prototype in each neighbor of ``index`` (S, R): see :func:`nearest_slides`."""
    partner = torch.full((*index.shape, valid.shape[1]), -1, dtype=torch.long, device=index.device)
    if partner.numel() == 0:
        return partner
    is_whole = bool(valid.all()) and bool((index >= 0).all())
    for rows in slices(0, len(index), max(1, _BLOCK_ELEMENTS // (index.shape[1] * prototypes[0].numel()))):
        others = index[rows].clamp(min=0)
        neighbors = prototypes.index_select(0, others.flatten()).view(*others.shape, *prototypes.shape[1:])
        cosines = torch.einsum("skd,srld->srkl", prototypes[rows], neighbors).flatten(0, 1)
        if match == "assignment" and is_whole:  # no masks
            partner[rows] = best_assignment(cosines)[1].view_as(partner[rows])
            continue
        own = valid[rows, None].expand_as(partner[rows]).flatten(0, 1)
        theirs = (valid[others] & (index[rows, :, None] >= 0)).flatten(0, 1)
        if match == "assignment":
            found = assign_cosines(cosines, own, theirs)[1]
        else:
            nearest = cosines.masked_fill(~theirs[:, None], -torch.inf).argmax(2)
            found = torch.where(own & theirs.any(1, keepdim=True), nearest, -1)
        partner[rows] = found.view_as(partner[rows])
    return partner
