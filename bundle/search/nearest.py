"""What is near to a query among the rows of an index: slides by embedding, slides by prototype sets, regions."""

from __future__ import annotations

import logging
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..cohort import BundleError
from ..functional import nearest_sets
from .index import SearchIndex
from .part import unit_rows

Found = tuple[NDArray[np.int64], NDArray[np.float32]]


class NearestSlides:
    """Searches over an index; faiss indexes are made when first asked for.

    Args:
        index: a search index.
        exact_slides: up to so many slides, prototype sets are compared with those of every slide; beyond, faiss
            proposes the slides with the most similar mean prototype.
        n_candidates: slides that are proposed and then ranked exactly.
    """

    def __init__(self, index: SearchIndex, exact_slides: int = 20_000, n_candidates: int = 2000) -> None:
        self.index, self.exact_slides, self.n_candidates = index, exact_slides, n_candidates

    def by_embedding(self, embedding: NDArray[np.float32], n: int, allowed: NDArray[np.bool_]) -> Found:
        """The ``n`` slides of largest cosine.

        Args:
            embedding: of the query, [dim], any length.
            n: how many.
            allowed: rows that may be found, [rows].

        Returns:
            Rows [<= n], best first, and their cosines.
        """
        return _top(self._embeddings, unit_rows(embedding[None]), n, allowed)[0]

    def by_sets(self, prototypes: NDArray[np.float32], n: int, allowed: NDArray[np.bool_]) -> Found:
        """The ``n`` slides of largest similarity, the mean cosine of optimally matched prototypes.

        Args:
            prototypes: of the query, rows of unit length, [K, d], K at least 1.
            n: how many.
            allowed: rows that may be found, [rows]; those without prototypes never are.

        Returns:
            Rows [<= n], best first, and their similarities.
        """
        sets, valid = self.sets
        query = torch.from_numpy(np.ascontiguousarray(prototypes))[None]
        is_there = torch.ones(query.shape[:2], dtype=torch.bool)
        if self.compares_all(allowed):
            rows, similarity = nearest_sets(query, is_there, sets, valid, n, usable=torch.from_numpy(allowed))
            found = rows[0]
        else:
            mean = query[0].mean(0).numpy()
            proposed = torch.from_numpy(_top(self._means, mean[None], max(self.n_candidates, n), allowed)[0][0])
            place, similarity = nearest_sets(query, is_there, sets[proposed], valid[proposed], n)
            found = torch.where(place[0] >= 0, proposed[place[0].clamp(min=0)], -1)
        n_found = int((found >= 0).sum())
        return found[:n_found].numpy(), similarity[0, :n_found].numpy()

    def by_regions(self, features: NDArray[np.float32], n: int, allowed: NDArray[np.bool_]) -> list[Found]:
        """For each of Q regions the ``n`` regions of largest cosine.

        Args:
            features: region embeddings [Q, dim], any length.
            n: how many.
            allowed: slides that may be found in, [rows].

        Returns:
            For each query numbers of regions (see :meth:`place_of`), best first, and their cosines.
        """
        return _top(self._regions, unit_rows(features), n, allowed[self._slide_of_region])

    def compares_all(self, allowed: NDArray[np.bool_]) -> bool:
        """Whether prototype sets are compared with all slides that are allowed."""
        return int(allowed.sum()) <= max(self.exact_slides, self.n_candidates)

    def prepare(self, by: str) -> None:
        """Read and arrange what searches of one kind need, so that their time is that of searching alone."""
        is_exact = self.compares_all(self.index.is_live)
        needed = {"embedding": ["_embeddings"], "regions": ["_regions", "_slide_of_region"]}
        for name in needed.get(by, ["sets"] if is_exact else ["_means"]):
            getattr(self, name)

    def recall(self, k: int, n_queries: int = 64) -> float:
        """Share of the true ``k`` nearest slides by sets that a search finds, over evenly spaced slides of the index.

        1 where prototype sets are compared with all slides.
        """
        members = np.flatnonzero(self.index.is_live & self.has_prototypes)
        exact = NearestSlides(self.index, exact_slides=len(members))
        exact.sets = self.sets  # the same arrays, made once
        found = wanted = 0
        for row in members[np.linspace(0, len(members) - 1, min(n_queries, len(members))).astype(int)]:
            allowed = self.index.is_live & self.has_prototypes
            allowed[row] = False
            prototypes = self.sets[0][row][self.sets[1][row]].numpy()
            truth = exact.by_sets(prototypes, k, allowed)[0]
            found += len(np.intersect1d(truth, self.by_sets(prototypes, k, allowed)[0]))
            wanted += len(truth)
        return found / max(wanted, 1)

    def place_of(self, region: int) -> tuple[int, tuple[int, int]]:
        """Row of a region's slide, and its corner in level-0 px."""
        x, y = self.index.regions.coords[region].tolist()
        return int(self._slide_of_region[region]), (x, y)

    @cached_property
    def sets(self) -> tuple[Tensor, Tensor]:
        """Prototypes [rows, K, d], and which of them exist [rows, K]."""
        slides = self.index.slides
        size = max(int(slides.n_prototypes.max(initial=0)), 1)
        valid = np.arange(size) < slides.n_prototypes[:, None]
        if valid.all():
            return torch.from_numpy(slides.prototypes.reshape(*valid.shape, -1)), torch.from_numpy(valid)
        sets = np.zeros((*valid.shape, slides.prototypes.shape[1]), np.float32)
        sets[valid] = slides.prototypes
        return torch.from_numpy(sets), torch.from_numpy(valid)

    @cached_property
    def has_prototypes(self) -> NDArray[np.bool_]:
        """[rows]."""
        return self.index.slides.n_prototypes > 0

    @cached_property
    def _embeddings(self) -> Any:
        return _flat_index(self.index.slides.embedding)

    @cached_property
    def _means(self) -> Any:
        sets, valid = self.sets
        return _flat_index((sets.sum(1) / valid.sum(1, keepdim=True).clamp(min=1)).numpy())

    @cached_property
    def _regions(self) -> Any:
        faiss = _faiss()
        features = self.index.regions.features
        # Half precision, as they are stored: of many regions, memory is what limits.
        found = faiss.IndexScalarQuantizer(features.shape[1], faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
        for start in range(0, len(features), 1 << 20):
            found.add(features[start : start + (1 << 20)].astype(np.float32))
        return found

    @cached_property
    def _slide_of_region(self) -> NDArray[np.int64]:
        return np.repeat(np.arange(len(self.index.slides)), self.index.slides.n_regions)


def _top(index: Any, queries: NDArray[np.float32], n: int, allowed: NDArray[np.bool_]) -> list[Found]:
    """The ``n`` largest inner products of each query among allowed rows."""
    faiss = _faiss()
    options = {}
    if not allowed.all():
        bits = np.packbits(allowed, bitorder="little")
        options["params"] = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(bits))
    n = min(n, int(allowed.sum()))
    if n == 0:
        return [(np.zeros(0, np.int64), np.zeros(0, np.float32))] * len(queries)
    similarity, rows = index.search(np.ascontiguousarray(queries, np.float32), n, **options)
    return [(r[r >= 0], s[r >= 0]) for r, s in zip(rows, similarity, strict=True)]


def _flat_index(vectors: NDArray[np.float32]) -> Any:
    index = _faiss().IndexFlatIP(vectors.shape[1])
    index.add(np.ascontiguousarray(vectors))
    return index


def _faiss() -> Any:
    logging.getLogger("faiss.loader").setLevel(logging.WARNING)  # it tells of every variant that it tries
    try:
        import faiss
    except ImportError as error:
        raise BundleError(
            "search needs the package faiss, which is not installed: install faiss-cpu or faiss-gpu."
        ) from error
    return faiss
