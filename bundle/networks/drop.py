"""Stochastic depth that skips the work of dropped branches, driven by given numbers."""

from __future__ import annotations

import torch
from torch import Tensor


def keep_rows(draws: Tensor, rates: list[float]) -> tuple[Tensor, list[int]]:
    """Which samples keep which branch.

    Branch j of sample b is dropped where ``draws[b, j] < rates[j]``. Counts come to the host in one copy for all
    branches; draws that lie on the CPU cost no synchronization of another device.

    Args:
        draws: uniforms in [0, 1), shape (B, n).
        rates: drop probability of each branch, in [0, 1), length n.

    Returns:
        (order, counts): ``order[:counts[j], j]`` are the samples that keep branch j, in ascending order.

    References:
        Huang et al., "Deep networks with stochastic depth", ECCV 2016.
    """
    if draws.dim() != 2 or draws.shape[1] != len(rates):
        raise ValueError(f"draws must be (B, {len(rates)}): got {list(draws.shape)}. Take n_draws of the network.")
    dropped = draws < torch.tensor(rates, dtype=draws.dtype, device=draws.device)
    order = torch.sort(dropped.to(torch.uint8), dim=0, stable=True)[1]
    counts: list[int] = (dropped.shape[0] - dropped.sum(0)).tolist()
    return order, counts


def add_branch(x: Tensor, branch: Tensor, rows: Tensor, keep: float) -> Tensor:
    """``x`` (B, ...) plus ``branch / keep`` (b, ...) on the samples ``rows`` (b); the expectation is the full sum."""
    return x.index_add(0, rows, branch.to(x.dtype), alpha=1.0 / keep)
