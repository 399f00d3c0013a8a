"""The most similar slides of every slide of a cohort."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...prototypes import nearest_sets, nearest_slides

_MOST_EXTRA = 16  # further slides that are looked at, since some may be of the slide's own patient
_TIMES_SLOWER = 16  # a slide alone, against its part of a search for all: measured with 8,000 slides


def cohort_neighbors(
    prototypes: Tensor, valid: Tensor, n: int, *, min_prototypes: int = 1, patients: NDArray[np.str_] | None = None
) -> list[list[tuple[int, float]]]:
    """For each of S slides the ``n`` others whose prototypes match its own best, exactly; best first.

    All slides are searched at once, with bounds (:func:`bundle.prototypes.nearest_slides`); alone only those of which
    that may not suffice, as of a patient with very many slides.

    Args:
        prototypes: L2-normalized, shape (S, K, d).
        valid: which of them exist, shape (S, K), bool.
        n: at least 1.
        min_prototypes: slides with fewer are neighbors only of slides with as few.
        patients: of each slide; slides of the same one are no neighbors. None: they may be.

    Returns:
        Slides and similarities (mean cosine of matched prototypes); fewer than ``n`` where there are no more.
    """
    sizes = valid.sum(1).numpy()
    level = np.minimum(sizes, min_prototypes)
    extra = 0 if patients is None else min(int(np.unique(patients, return_counts=True)[1].max()) - 1, _MOST_EXTRA)
    answers: list[list[tuple[int, float]]] = [[] for _ in sizes]
    alone: list[int] = []
    for lowest in np.unique(level[level > 0]).tolist():
        members = np.flatnonzero(sizes >= lowest)
        own = np.flatnonzero(level[members] == lowest)
        if len(own) * _TIMES_SLOWER < len(members):
            alone += members[own].tolist()
            continue
        chosen = torch.from_numpy(members)
        found = nearest_slides(prototypes[chosen], valid[chosen], n + extra)
        for place in own.tolist():
            row = int(members[place])
            index, similarity = found.index[place].tolist(), found.similarity[place].tolist()
            pairs = [(int(members[i]), s) for i, s in zip(index, similarity, strict=True) if i >= 0]
            others = [pair for pair in pairs if patients is None or patients[pair[0]] != patients[row]]
            answers[row] = others[:n]
            if len(others) < n and len(pairs) == n + extra:
                alone.append(row)
    for row in alone:
        usable = sizes >= level[row]
        usable[row] = False
        if patients is not None:
            usable &= patients != patients[row]
        answers[row] = _alone(row, prototypes, valid, n, usable)
    return answers


def _alone(row: int, prototypes: Tensor, valid: Tensor, n: int, usable: NDArray[np.bool_]) -> list[tuple[int, float]]:
    one = slice(row, row + 1)
    index, similarity = nearest_sets(prototypes[one], valid[one], prototypes, valid, n, usable=torch.from_numpy(usable))
    return [(i, s) for i, s in zip(index[0].tolist(), similarity[0].tolist(), strict=True) if i >= 0]
