"""Splitting slides over the processes of a run, and putting the results together."""

from __future__ import annotations

import torch.distributed as dist
from torch import Tensor


def _world() -> tuple[int, int]:
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def own_slides(n_regions: Tensor) -> Tensor:
    """Mask (S,) of the slides that this rank clusters: consecutive ones, about as many regions on every rank.

    Args:
        n_regions: regions of each slide, shape (S,), int64, the same on every rank.
    """
    rank, world = _world()
    middle = n_regions.cumsum(0) * 2 - n_regions
    owner = middle * world // (2 * n_regions.sum()).clamp(min=1)
    return owner.clamp(max=world - 1) == rank


def put_together(values: Tensor) -> Tensor:
    """Sum over ranks of tensors that are zero outside the rank's own share, hence exact; same shape on every rank."""
    if _world()[1] == 1:
        return values
    device = values.device
    # NCCL moves tensors of GPUs only, whatever device the features were kept on.
    shared = values.cuda() if dist.get_backend() == "nccl" else values.clone()
    dist.all_reduce(shared)
    return shared.to(device)
