"""What is near to a query among the rows of an index: slides by embedding, slides by prototype sets, regions."""

from __future__ import annotations

import logging
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...core import BundleError
from ...prototypes import SetSketch, nearest_sets
from .index import SearchIndex
from .part import padded_sets, unit_rows

_LOOKED_AT_FIRST = 64

Found = tuple[NDArray[np.int64], NDArray[np.float32]]


class NearestSlides:
    """Searches over an index, all of them exact; what they need is read and arranged when first asked for.

    Args:
        index: a search index.
        n_compared_at_once: up to so many slides prototype sets are compared without a look at bounds first.
    """

    def __init__(self, index: SearchIndex, n_compared_at_once: int = 4096) -> None:
        self.index, self.n_compared_at_once = index, n_compared_at_once

    def prepare(self, by: str) -> None:
        """Read and arrange what searches of one kind need, so that the first takes no longer than the others."""
        names = {"embedding": ["_embeddings"], "regions": ["_regions", "_slide_of_region"], "sets": ["sets"]}[by]
        if by == "sets" and len(self.index.slides) > self.n_compared_at_once:
            names.append("_sketch")
        for name in names:
            getattr(self, name)

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
        """The ``n`` slides of largest similarity, the mean cosine of optimally matched prototypes; exact.

        In a large index, slides whose upper bound (:class:`SetSketch`) is below what others reach are passed over.

        Args:
            prototypes: of the query, rows of unit length, [K, d], K at least 1.
            n: how many.
            allowed: rows that may be found, [rows]; those without prototypes never are.

        Returns:
            Rows [<= n], best first, and their similarities.
        """
        query = torch.from_numpy(np.ascontiguousarray(prototypes))
        rows = np.flatnonzero(allowed & self.has_prototypes)
        if len(rows) > self.n_compared_at_once:
            rows = self._possible(query, n, rows)
        sets, valid = (each[torch.from_numpy(rows)] for each in self.sets)
        place, similarity = nearest_sets(query[None], torch.ones(1, len(query), dtype=torch.bool), sets, valid, n)
        n_found = int((place >= 0).sum())
        return rows[place[0, :n_found].numpy()], similarity[0, :n_found].numpy()

    def _possible(self, query: Tensor, n: int, rows: NDArray[np.intp]) -> NDArray[np.intp]:
        """Those of the rows that may be among the ``n`` most similar."""
        bounds = self._sketch.bounds(query)
        bounds = bounds if len(rows) == len(bounds) else bounds[torch.from_numpy(rows)]
        first = bounds.topk(min(max(4 * n, _LOOKED_AT_FIRST), len(rows))).indices
        sets, valid = (each[torch.from_numpy(rows)[first]] for each in self.sets)
        there = torch.ones(1, len(query), dtype=torch.bool)
        reached = float(nearest_sets(query[None], there, sets, valid, n)[1][0, -1])
        return rows[(bounds >= reached).numpy()]

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

    def place_of(self, region: int) -> tuple[int, tuple[int, int]]:
        """Row of a region's slide, and its corner in level-0 px."""
        x, y = self.index.regions.coords[region].tolist()
        return int(self._slide_of_region[region]), (x, y)

    @cached_property
    def sets(self) -> tuple[Tensor, Tensor]:
        """Prototypes [rows, K, d], and which of them exist [rows, K]."""
        return padded_sets(self.index.slides.prototypes, self.index.slides.n_prototypes)

    @cached_property
    def has_prototypes(self) -> NDArray[np.bool_]:
        """[rows]."""
        return self.index.slides.n_prototypes > 0

    @cached_property
    def _embeddings(self) -> Any:
        return _flat_index(self.index.slides.embedding)

    @cached_property
    def _sketch(self) -> SetSketch:
        return SetSketch(*self.sets)

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
