"""Most similar slides, by exact matching of their prototypes."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from .matching import assign_cosines, matched_similarity, similarity_bound

_BLOCK_ROWS = {"cpu": 1024, "cuda": 8192}
_BLOCK_PAIRS = {"cpu": 1 << 14, "cuda": 1 << 20}
_ROUNDING = 1e-5


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
def nearest_slides(
    prototypes: Tensor, valid: Tensor, n_neighbors: int, *, match: Literal["assignment", "nearest"] = "assignment"
) -> Neighbors:
    """Find for each slide the ``n_neighbors`` others whose prototypes match its own best [1].

    Exact and streamed: blocks of cosines (upper triangle only) give an upper bound of each similarity, the smaller of
    the summed row maxima and the summed column maxima; only pairs whose bound reaches what the slide already has are
    assigned. Memory is O(S R) and a block. Slides without a valid prototype neither have nor are neighbors.

    Args:
        prototypes: L2-normalized, shape (S, K, d).
        valid: which of them exist, shape (S, K), bool.
        n_neighbors: R, at least 0.
        match: partner of a prototype: its match in the best bijection (the paper), or "nearest", the most similar one
            in the neighbor, so that two may share a partner (the authors' implementation).

    Raises:
        ValueError: an unknown ``match`` or a negative ``n_neighbors``.

    References:
        [1] Yu, Lin, Xu, "SLPD", MICCAI 2023: inter-slide distillation.
    """
    if match not in ("assignment", "nearest"):
        raise ValueError(f'match must be "assignment" or "nearest": got {match!r}.')
    if n_neighbors < 0:
        raise ValueError(f"n_neighbors must be at least 0: got {n_neighbors}.")
    n_slides, size = valid.shape
    members = valid.any(1).nonzero()[:, 0]
    index = torch.full((n_slides, n_neighbors), -1, dtype=torch.long, device=prototypes.device)
    dtype = torch.float64 if prototypes.dtype == torch.float64 else torch.float32
    similarity = torch.full((n_slides, n_neighbors), -torch.inf, dtype=dtype, device=prototypes.device)
    n_found = min(n_neighbors, len(members) - 1)
    if n_found > 0:
        is_all = len(members) == n_slides
        search = _Search(prototypes.to(dtype) if is_all else prototypes[members].to(dtype), valid[members], n_found)
        search.run()
        index[members, :n_found] = members[search.index]
        similarity[members, :n_found] = search.similarity
    return Neighbors(index, similarity, partners_of(prototypes.to(dtype), valid, index, match))


class _Search:
    """State of one search over n slides that all have prototypes."""

    def __init__(self, prototypes: Tensor, valid: Tensor, n_neighbors: int) -> None:
        self.n_slides, self.size, _ = prototypes.shape
        self.valid, self.n_valid = valid, valid.sum(1)
        self.all_valid = bool(valid.all())
        self.prototypes = prototypes if self.all_valid else torch.where(valid[..., None], prototypes, 0)
        self.by_prototype = self.prototypes.transpose(0, 1).contiguous()
        self.block = max(1, _BLOCK_ROWS.get(prototypes.device.type, _BLOCK_ROWS["cuda"]) // self.size)
        self.index = torch.zeros(self.n_slides, n_neighbors, dtype=torch.long, device=prototypes.device)
        self.similarity = prototypes.new_full((self.n_slides, n_neighbors), -torch.inf)

    def run(self) -> None:
        self.threshold = self._first_threshold()
        starts = range(0, self.n_slides, self.block)
        blocks = [slice(start, min(start + self.block, self.n_slides)) for start in starts]
        for i, rows in enumerate(blocks):
            for columns in blocks[i:]:
                self._visit(rows, columns)

    def _first_threshold(self) -> Tensor:
        """A similarity that R slides reach: the worst among the R with the most similar mean prototype."""
        means = self.prototypes.sum(1) / self.n_valid[:, None]
        n_neighbors = self.index.shape[1]
        threshold = means.new_empty(self.n_slides)
        for start in range(0, self.n_slides, self.block):
            rows = slice(start, min(start + self.block, self.n_slides))
            scores = means[rows] @ means.T
            scores[:, rows].fill_diagonal_(-torch.inf)
            found = scores.topk(n_neighbors, dim=1).indices
            worst = means.new_full((len(scores),), torch.inf)
            for column in found.unbind(1):
                exact, _ = matched_similarity(
                    self.prototypes[rows], self.valid[rows], self.prototypes[column], self.valid[column]
                )
                worst = torch.minimum(worst, exact)
            threshold[rows] = worst
        return threshold

    def _visit(self, rows: slice, columns: slice) -> None:
        left, right = self.by_prototype[:, rows], self.by_prototype[:, columns]
        cosines = left.flatten(0, 1) @ right.flatten(0, 1).T
        cosines = cosines.view(self.size, left.shape[1], self.size, right.shape[1])
        bound = self._bound(cosines, rows, columns)
        wanted = bound >= torch.minimum(self.threshold[rows, None], self.threshold[None, columns]) - _ROUNDING
        if rows == columns:
            wanted = wanted.triu(1)
        i, j = wanted.nonzero(as_tuple=True)
        step = _BLOCK_PAIRS.get(cosines.device.type, _BLOCK_PAIRS["cuda"])
        for pairs in range(0, len(i), step):
            part = slice(pairs, pairs + step)
            self._rank(cosines[:, i[part], :, j[part]], i[part] + rows.start, j[part] + columns.start, rows, columns)

    def _bound(self, cosines: Tensor, rows: slice, columns: slice) -> Tensor:
        """Upper bound of the similarity of each pair of slides of a block, shape (rows, columns)."""
        if self.all_valid:
            return torch.minimum(cosines.amax(2).sum(0), cosines.amax(0).sum(1)) / self.size
        pairs = cosines.permute(1, 3, 0, 2)
        return similarity_bound(pairs, self.valid[rows][:, None], self.valid[columns][None])

    def _rank(self, cosines: Tensor, i: Tensor, j: Tensor, rows: slice, columns: slice) -> None:
        """Assign pairs (i, j) and merge them into the lists of both slides."""
        exact, _ = assign_cosines(cosines, self.valid[i], self.valid[j])
        touched = torch.arange(self.n_slides, device=i.device)
        touched = touched[rows] if rows == columns else torch.cat([touched[rows], touched[columns]])
        n_neighbors = self.index.shape[1]
        slides = torch.cat([touched.repeat_interleave(n_neighbors), i, j])
        others = torch.cat([self.index[touched].flatten(), j, i])
        values = torch.cat([self.similarity[touched].flatten(), exact, exact])
        order = others.argsort(stable=True)
        order = order[values[order].argsort(stable=True, descending=True)]
        order = order[slides[order].argsort(stable=True)]
        slides, others, values = slides[order], others[order], values[order]
        rank = torch.arange(len(slides), device=i.device) - torch.searchsorted(slides, slides)
        kept = rank < n_neighbors
        self.index[slides[kept], rank[kept]] = others[kept]
        self.similarity[slides[kept], rank[kept]] = values[kept]
        self.threshold[touched] = torch.maximum(self.threshold[touched], self.similarity[touched, -1])


def partners_of(prototypes: Tensor, valid: Tensor, index: Tensor, match: str) -> Tensor:
    """Partner (S, R, K) of each prototype in each neighbor of ``index`` (S, R): see :func:`nearest_slides`."""
    partner = torch.full((*index.shape, valid.shape[1]), -1, dtype=torch.long, device=index.device)
    slides, ranks = (index >= 0).nonzero(as_tuple=True)
    block = max(1, (1 << 21) // max(1, prototypes[0].numel() if len(prototypes) else 1))
    for start in range(0, len(slides), block):
        a, rank = slides[start : start + block], ranks[start : start + block]
        b = index[a, rank]
        if match == "assignment":
            partner[a, rank] = matched_similarity(prototypes[a], valid[a], prototypes[b], valid[b])[1]
        else:
            cosines = torch.einsum("pkd,pld->pkl", prototypes[a], prototypes[b])
            nearest = cosines.masked_fill(~valid[b][:, None], -torch.inf).argmax(2)
            partner[a, rank] = torch.where(valid[a], nearest, -1)
    return partner
