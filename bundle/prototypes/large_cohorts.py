"""Most similar slides of cohorts in which not every pair can be compared: faiss proposes, exact matching decides."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..cohort import BundleError
from ..functional import Neighbors, neighbors_of, partners_of, rank_candidates

_QUERIES_AT_ONCE = 4096
_SAMPLED_QUERIES = 64


def nearest_slides_by_candidates(
    prototypes: Tensor,
    valid: Tensor,
    n_neighbors: int,
    *,
    n_candidates: int = 1000,
    match: Literal["assignment", "nearest"] = "assignment",
) -> tuple[Neighbors, float]:
    """As :func:`bundle.functional.nearest_slides`, comparing each slide with ``n_candidates`` others alone.

    Candidates are the slides with the most similar mean prototype (faiss, exact inner products); matching their
    prototypes ranks them. Time is O(S^2 d) with a constant K^2 times smaller than that of comparing all prototypes.

    Args:
        prototypes, valid, n_neighbors, match: as there.
        n_candidates: T; more find more and cost more.

    Returns:
        The neighbors, and the recall: the share of true neighbors found, for a sample of up to 64 slides.

    Raises:
        BundleError: faiss is not installed.
    """
    members = valid.any(1).nonzero()[:, 0]
    vectors = torch.where(valid[..., None], prototypes, 0).float()
    n_found = max(0, min(n_neighbors, len(members) - 1))
    index = torch.full((len(valid), n_neighbors), -1, dtype=torch.long, device=prototypes.device)
    similarity = vectors.new_full((len(valid), n_neighbors), -torch.inf)
    if n_found > 0:
        means = vectors[members].sum(1) / valid[members].sum(1, keepdim=True)
        search = mean_prototype_index(means)
        n_wanted = min(max(n_candidates, n_found) + 1, len(members))
        parts = members.split(_QUERIES_AT_ONCE)
        starts = range(0, len(members), _QUERIES_AT_ONCE)
        for start, queries in zip(tqdm(starts, desc="matching slides", leave=False, disable=None), parts, strict=True):
            rows = means[start : start + len(queries)].cpu().numpy()
            proposed = torch.from_numpy(search.search(rows, n_wanted)[1]).to(members.device)
            candidates = torch.where(proposed >= 0, members[proposed.clamp(min=0)], -1)
            index[queries, :n_found], similarity[queries, :n_found] = rank_candidates(
                vectors, valid, queries, candidates, n_found
            )
    recall = _recall(vectors, valid, members, index[:, :n_found])
    return Neighbors(index, similarity, partners_of(vectors, valid, index, match)), recall


def mean_prototype_index(means: Tensor) -> Any:
    """A faiss index of vectors (S, d) by inner product, exhaustive, on all GPUs where the vectors are on one.

    Raises:
        BundleError: faiss is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise BundleError(
            "matching so many slides needs the package faiss, which is not installed: install faiss-cpu or faiss-gpu, "
            "or raise exact_matching_slides and wait for all pairs to be compared."
        ) from error
    index: Any = faiss.IndexFlatIP(means.shape[1])
    if means.is_cuda and hasattr(faiss, "get_num_gpus") and faiss.get_num_gpus() > 0:
        index = faiss.index_cpu_to_all_gpus(index)
    index.add(means.cpu().numpy())
    return index


def _recall(vectors: Tensor, valid: Tensor, members: Tensor, found: Tensor) -> float:
    """Share of the true neighbors of evenly spaced slides that stand in ``found``."""
    if found.shape[1] == 0:
        return 1.0
    sample = members[torch.linspace(0, len(members) - 1, min(_SAMPLED_QUERIES, len(members))).long()]
    truth = neighbors_of(vectors, valid, sample, found.shape[1])
    hits = (found[sample][:, :, None] == truth[:, None]) & (truth[:, None] >= 0)
    return float(hits.any(1).sum()) / max(1, int((truth >= 0).sum()))
