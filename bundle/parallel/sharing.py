"""Splitting slides over the processes of a run, and adding up what each has."""

from __future__ import annotations

import ignite.distributed as idist
from torch import Tensor


def own_slides(n_regions: Tensor) -> Tensor:
    """Mask (S,) of the slides that this rank clusters: consecutive ones, about as many regions on every rank.

    Args:
        n_regions: regions of each slide, shape (S,), int64, the same on every rank.
    """
    rank, world = idist.get_rank(), idist.get_world_size()
    middle = n_regions.cumsum(0) * 2 - n_regions
    owner = middle * world // (2 * n_regions.sum()).clamp(min=1)
    return owner.clamp(max=world - 1) == rank


def sum_over_ranks(values: Tensor) -> Tensor:
    """Sum ``values`` (same shape on every rank) over all ranks, without gradient; they themselves stay as they are.

    Of tensors that are zero outside the rank's own share it is exact.
    """
    return idist.all_reduce(values.detach().clone())
