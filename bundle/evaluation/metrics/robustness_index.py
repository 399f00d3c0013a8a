"""Is a patient's neighbor of its class at another site, or of another class at its own site?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_CELLS = 1 << 24


def neighbor_kinds(
    vectors: NDArray[np.floating],
    classes: NDArray[np.int64],
    sites: Sequence[str | None],
    queries: NDArray[np.int64],
    n_most: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Neighbors of the same class and another site, and those of another class and the same site [1].

    The robustness index over k neighbors is the first count over the sum of both, each summed over the queries:
    R_k = SO / (SO + OS). It is 1 where vectors go by class alone and 0 where they go by site alone. Published for
    patches, with the neighbors of the same slide left out, it is here for patients, each a vector; no balanced pairs of
    classes and sites are drawn, so :func:`random_index` is to be shown beside it.

    Args:
        vectors: of n patients, [n, d]; compared by their cosine.
        classes: of each.
        sites: of each; patients without one neither ask nor answer.
        queries: rows that ask, [m].
        n_most: neighbors; fewer where there are fewer patients.

    Returns:
        Both counts among the first 1, 2, ... n_most neighbors, int64 [m, n_most].

    References:
        [1] Koemen et al., "Towards Robust Foundation Models for Digital Pathology", arXiv 2507.17845, 2025.
    """
    site = _numbered(sites)
    known = np.flatnonzero(site >= 0)
    n_found = min(n_most, max(len(known) - 1, 0))
    counts = np.zeros((2, len(queries), n_most), np.int64)
    rows = vectors.astype(np.float64)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    asking = np.flatnonzero(site[queries] >= 0)
    block = max(1, _CELLS // max(len(known), 1))
    for part in (asking[start : start + block] for start in range(0, len(asking), block)):
        own = queries[part][:, None]
        near = known[_nearest(rows[own[:, 0]] @ rows[known].T, own == known, n_found)]
        is_class, is_site = classes[near] == classes[own], site[near] == site[own]
        counts[0, part, :n_found] = (is_class & ~is_site).cumsum(1)
        counts[1, part, :n_found] = (~is_class & is_site).cumsum(1)
    counts[:, :, n_found:] = counts[:, :, n_found - 1 : n_found] if n_found else 0
    return counts[0], counts[1]


def random_index(classes: NDArray[np.int64], sites: Sequence[str | None]) -> float:
    """The index of neighbors drawn at random: that of as many neighbors as there are; NaN where there are none.

    Args:
        classes: of n patients.
        sites: of each, None where unknown.
    """
    site = _numbered(sites)
    table = np.zeros((int(classes.max(initial=0)) + 1, int(site.max(initial=-1)) + 1))
    np.add.at(table, (classes[site >= 0], site[site >= 0]), 1)
    same_class = (table * (table.sum(1, keepdims=True) - table)).sum()
    same_site = (table * (table.sum(0, keepdims=True) - table)).sum()
    return float(same_class / (same_class + same_site)) if same_class + same_site else float("nan")


def _numbered(sites: Sequence[str | None]) -> NDArray[np.int64]:
    """Sites as numbers from 0, -1 where unknown."""
    numbers = {site: number for number, site in enumerate(s for s in dict.fromkeys(sites) if s is not None)}
    return np.array([-1 if site is None else numbers[site] for site in sites], np.int64)


def _nearest(similarity: NDArray[np.float64], is_self: NDArray[np.bool_], n_found: int) -> NDArray[np.int64]:
    """Columns of the most similar, most similar first, earlier ones first among equals; never the row itself."""
    similarity[is_self] = -np.inf
    return np.argsort(-similarity, axis=1, kind="stable")[:, :n_found]
