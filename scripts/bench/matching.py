"""Most similar slides by exact matching of their prototypes."""

from __future__ import annotations

import torch

from bundle.prototypes import nearest_slides

from . import reference_way
from .cohort import slide_prototypes
from .measure import Case, Variant

_SETTINGS = ((1000, 2, 1), (1000, 2, 5), (1000, 4, 1), (1000, 4, 5), (400, 6, 1))
_GOALS = {(1000, 2, 1): 1.0, (1000, 2, 5): 1.0, (1000, 4, 1): 10.0, (400, 6, 1): 150.0}


def cases(device: str, threads: int) -> list[Case]:
    """Several K against all K! permutations, and a larger cohort against the bare products."""
    found = [_case(*setting, device) for setting in _SETTINGS]
    prototypes = slide_prototypes(5000, 4).to(device)
    valid = torch.ones(prototypes.shape[:2], dtype=torch.bool, device=device)
    rows = prototypes.flatten(0, 1)
    products = Variant("the products alone, upper triangle", "reference", lambda: _triangle(rows))
    ours = Variant("ours", "ours", lambda: nearest_slides(prototypes, valid, 1))
    title = "5,000 slides, K = 4, R = 1 (permutations would need 2.4 GB)"
    return [*found, Case("matching", title, [products, ours], work=5000, unit="slides")]


def _case(n_slides: int, size: int, n_neighbors: int, device: str) -> Case:
    prototypes = slide_prototypes(n_slides, size).to(device)
    valid = torch.ones(n_slides, size, dtype=torch.bool, device=device)
    rows = prototypes.flatten(0, 1)
    goal = _GOALS.get((n_slides, size, n_neighbors))
    return Case(
        "matching",
        f"{n_slides:,} slides, K = {size}, R = {n_neighbors}",
        [
            Variant(
                "all permutations", "reference", lambda: reference_way.match_by_permutations(prototypes, n_neighbors)
            ),
            Variant("ours", "ours", lambda: nearest_slides(prototypes, valid, n_neighbors)),
            Variant("the products alone, upper triangle", "limit", lambda: _triangle(rows)),
        ],
        work=n_slides,
        unit="slides",
        goal={} if goal is None else {"ours": goal},
    )


def _triangle(rows: torch.Tensor) -> None:
    block = 1024
    for start in range(0, len(rows), block):
        part = rows[start : start + block]
        for other in range(start, len(rows), block):
            part @ rows[other : other + block].T
