"""The search for most similar slides: bounds for all pairs, exact matching for the few that they leave."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from .matching import ROUNDING, assign_cosines, best_assignment, similarity_bound, similarity_by_permutations
from .sketches import principal_directions, sketched

_BLOCK_ROWS = {"cpu": 1024, "cuda": 8192}
_BLOCK_ELEMENTS = {"cpu": 1 << 19, "cuda": 1 << 27}
_RANKED_AT_ONCE = 2048
_FEW_PROTOTYPES = 3  # of up to so many, and few slides, all similarities by all bijections cost less than bounds
_FIRST = 1  # slides beyond R from which a first similarity is taken
_SAMPLED = 4096  # slides that are looked at for it
_SKETCH_DIMS = (31, 63, 127)
_SKETCHED_SLIDES = 4096  # of fewer, the products cost less than to look for a sketch
_JUDGED = 64  # slides by which sketches are judged
_FEW = 0.06  # share of pairs that a sketch may leave more, by the first thresholds; the later ones leave far fewer


class NeighborSearch:
    """State of one search over n slides that all have prototypes.

    Args:
        prototypes: L2-normalized, shape (n, K, d), finite, float32 or float64.
        valid: which of them exist, shape (n, K), bool, one of each slide at least.
        n_neighbors: R, in [1, n - 1].

    Attributes:
        index: neighbors found so far, best first, shape (n, R), int64; means nothing where ``similarity`` is -inf.
        similarity: their similarities, shape (n, R).
    """

    def __init__(self, prototypes: Tensor, valid: Tensor, n_neighbors: int) -> None:
        self.n_slides, self.size, _ = prototypes.shape
        self.valid, self.n_valid, self.all_valid = valid, valid.sum(1), bool(valid.all())
        self.prototypes = prototypes if self.all_valid else torch.where(valid[..., None], prototypes, 0)
        self.block = max(1, _BLOCK_ROWS.get(prototypes.device.type, _BLOCK_ROWS["cuda"]) // self.size)
        self.index = torch.zeros(self.n_slides, n_neighbors, dtype=torch.long, device=prototypes.device)
        self.similarity = prototypes.new_full((self.n_slides, n_neighbors), -torch.inf)
        self.is_exact = self.all_valid and self.size <= _FEW_PROTOTYPES and self.n_slides < _SKETCHED_SLIDES
        if not self.is_exact:
            self.threshold = self._first_threshold()
        sketch = self._sketch()
        self.is_sketched = sketch is not None
        self.bounding = (self.prototypes if sketch is None else sketch).transpose(0, 1).contiguous()

    def rows(self, number: int, of: int) -> list[slice]:
        """A share of the rows of blocks; a row is compared with itself and all that follow.

        Args:
            number: which share, in [0, of).
            of: shares; about as many pairs of slides in each.
        """
        found = []
        for i, rows in enumerate(slices(0, self.n_slides, self.block)):
            turn, place = divmod(i, of)
            if number == (of - 1 - place if turn % 2 else place):  # to and fro, since rows become shorter
                found.append(rows)
        return found

    def run(self, rows: Iterable[slice]) -> None:
        """Compare the slides of the given rows with all that follow."""
        if self.is_exact:
            return self._run_exact(rows)
        waiting: list[tuple[Tensor, Tensor, Tensor]] = []
        n_waiting = 0
        for row in rows:
            for columns in slices(row.start, self.n_slides, self.block):
                pairs = self._possible(row, columns)
                if len(pairs[0]):
                    waiting.append(pairs)
                    n_waiting += len(pairs[0])
                if n_waiting >= _RANKED_AT_ONCE:
                    self._rank(waiting)
                    waiting, n_waiting = [], 0
        if waiting:
            self._rank(waiting)

    def _possible(self, rows: slice, columns: slice) -> tuple[Tensor, Tensor, Tensor]:
        """Pairs of slides (P,), (P,) of a block that may be neighbors, and their cosines (P, K, K)."""
        products = self._products(self.bounding[:, rows], self.bounding[:, columns])
        bound = self._bound(products, self.n_valid[rows], self.n_valid[columns])
        least = torch.minimum(self.threshold[rows, None], self.threshold[columns])
        wanted = bound >= least
        if rows == columns:
            wanted = wanted.triu_(1)
        i, j = wanted.nonzero(as_tuple=True)
        a, b = i + rows.start, j + columns.start
        return a, b, self._cosines(a, b) if self.is_sketched else products[:, i, :, j]

    def _run_exact(self, rows: Iterable[slice]) -> None:
        """The same for few slides with few prototypes: all their similarities (n, n), and the best of each row."""
        found = self.similarity.new_full((self.n_slides, self.n_slides), -torch.inf)
        for row in rows:
            for columns in slices(row.start, self.n_slides, self.block):
                products = self._products(self.bounding[:, row], self.bounding[:, columns])
                part = similarity_by_permutations(products, (0, 2))
                if row == columns:  # both halves from one, as rounding differs
                    part = part.triu_(1).add(part.T).fill_diagonal_(-torch.inf)
                found[row, columns], found[columns, row] = part, part.T
        n_neighbors = self.index.shape[1]
        values, index = found.topk(n_neighbors + 1, 1)
        tied = (values[:, -2] == values[:, -1]).nonzero()[:, 0]  # with a slide whose index may be lower
        index[tied] = found[tied].sort(stable=True, descending=True).indices[:, : n_neighbors + 1]
        index = index[:, :-1].sort(1).values
        self.similarity, order = found.gather(1, index).sort(stable=True, descending=True)
        self.index = index.gather(1, order)

    def _first_threshold(self) -> Tensor:
        """A similarity that R slides reach: the R-th best of a few whose mean prototypes are most similar.

        With it the search of 400 to 1,000 slides with 4 to 8 prototypes is 2.1 to 3.4 times as quick on a CPU.
        """
        means = self.prototypes.sum(1) / self.n_valid[:, None]
        step = max(1, self.n_slides // _SAMPLED)
        sample = torch.arange(0, self.n_slides, step, device=means.device)
        n_neighbors = self.similarity.shape[1]
        n_first = min(n_neighbors + _FIRST, len(sample) - 1)
        threshold = torch.full_like(means[:, 0], -torch.inf)
        if n_first < n_neighbors:
            return threshold
        for rows in slices(0, self.n_slides, self.block):
            scores = means[rows] @ means[sample].T
            own = sample[(sample >= rows.start) & (sample < rows.stop)]
            scores[own - rows.start, own // step] = -torch.inf
            first = sample[scores.topk(n_first, dim=1).indices]
            cosines = torch.einsum("rkd,rtld->rtkl", self.prototypes[rows], self.prototypes[first]).flatten(0, 1)
            there = self.valid[rows, None].expand(-1, n_first, -1).flatten(0, 1)
            exact = self._matched(cosines, there, self.valid[first.flatten()]).view_as(first)
            threshold[rows] = exact.topk(n_neighbors, dim=1).values[:, -1]
        return threshold

    def _sketch(self) -> Tensor | None:
        """Short vectors (n, K, m) whose products are at least the cosines, if some leave few more pairs to match.

        Of 5,000 and 12,000 slides in about 20 of 256 dimensions: 1.7 and 2.1 times as quick on a CPU.
        """
        if self.n_slides < _SKETCHED_SLIDES:
            return None
        judged, others = (self._evenly(n) for n in (_JUDGED, 16 * _JUDGED))
        rows, columns = self.prototypes[judged], self.prototypes[others]
        basis = principal_directions(columns[self.valid[others]])
        most = self._share_left(rows, columns, judged, others) + _FEW
        for n_dims in _SKETCH_DIMS:
            if 2 * (n_dims + 1) > self.prototypes.shape[2]:
                break
            kept = basis[:, :n_dims]
            if self._share_left(sketched(rows, kept), sketched(columns, kept), judged, others) <= most:
                return torch.cat([sketched(part, kept) for part in self.prototypes.split(_SKETCHED_SLIDES)])
        return None

    def _share_left(self, left: Tensor, right: Tensor, rows: Tensor, columns: Tensor) -> float:
        """Share of the pairs of slides whose bounds by vectors (a, K, m), (b, K, m) reach the first thresholds."""
        bound = self._bound(
            self._products(left.transpose(0, 1), right.transpose(0, 1)), self.n_valid[rows], self.n_valid[columns]
        )
        least = torch.minimum(self.threshold[rows, None], self.threshold[columns])
        return float((bound >= least).float().mean())

    def _evenly(self, n: int) -> Tensor:
        return torch.linspace(0, self.n_slides - 1, min(n, self.n_slides), device=self.valid.device).long()

    def _products(self, left: Tensor, right: Tensor) -> Tensor:
        """Products (K, a, K, b) of vectors (K, a, m) and (K, b, m), 0 where there is no prototype."""
        products = left.flatten(0, 1) @ right.flatten(0, 1).T
        return products.view(self.size, left.shape[1], self.size, right.shape[1])

    def _bound(self, products: Tensor, n_left: Tensor, n_right: Tensor) -> Tensor:
        """Upper bounds (a, b) of the similarities of slides with numbers of prototypes (a,) and (b,)."""
        return similarity_bound(products, self.size if self.all_valid else (n_left[:, None], n_right), (0, 2))

    def _cosines(self, i: Tensor, j: Tensor) -> Tensor:
        """Cosines (P, K, K) of the prototypes of pairs of slides."""
        pairs = max(1, _BLOCK_ELEMENTS.get(i.device.type, _BLOCK_ELEMENTS["cuda"]) // self.prototypes[0].numel())
        parts = zip(i.split(pairs), j.split(pairs), strict=True)
        return torch.cat([self.prototypes[a] @ self.prototypes[b].transpose(1, 2) for a, b in parts])

    def _matched(self, cosines: Tensor, a_valid: Tensor, b_valid: Tensor) -> Tensor:
        if self.all_valid:
            return best_assignment(cosines)[0].div_(self.size)
        return assign_cosines(cosines, a_valid, b_valid)[0]

    def _rank(self, pairs: list[tuple[Tensor, Tensor, Tensor]]) -> None:
        """Match pairs (i, j), given with their cosines, and merge them into the lists of both slides."""
        i, j, cosines = (torch.cat(each) for each in zip(*pairs, strict=True))
        exact = self._matched(cosines, self.valid[i], self.valid[j])
        slides, others, values = torch.cat([i, j]), torch.cat([j, i]), exact.repeat(2)
        counts = values >= self.threshold[slides] - ROUNDING
        slides, others, values = slides[counts], others[counts], values[counts]
        n_neighbors, touched = self.index.shape[1], slides.unique()
        slides = torch.cat([touched.repeat_interleave(n_neighbors), slides])
        others = torch.cat([self.index[touched].flatten(), others])
        values = torch.cat([self.similarity[touched].flatten(), values])
        order = others.argsort(stable=True)
        order = order[values[order].argsort(stable=True, descending=True)]
        order = order[slides[order].argsort(stable=True)]
        slides, others, values = slides[order], others[order], values[order]
        rank = torch.arange(len(slides), device=i.device) - torch.searchsorted(slides, slides)
        kept = rank < n_neighbors
        self.index[slides[kept], rank[kept]] = others[kept]
        self.similarity[slides[kept], rank[kept]] = values[kept]
        self.threshold[touched] = torch.maximum(self.threshold[touched], self.similarity[touched, -1])


def slices(start: int, stop: int, step: int) -> Iterator[slice]:
    """[start, stop) in blocks."""
    return (slice(at, min(at + step, stop)) for at in range(start, stop, step))
