"""Splitting slides over the processes of a run, and putting the results together."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def own_share() -> tuple[int, int]:
    """This rank, and how many there are."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def own_slides(n_regions: Tensor) -> Tensor:
    """Mask (S,) of the slides that this rank clusters: consecutive ones, about as many regions on every rank.

    Args:
        n_regions: regions of each slide, shape (S,), int64, the same on every rank.
    """
    rank, world = own_share()
    middle = n_regions.cumsum(0) * 2 - n_regions
    owner = middle * world // (2 * n_regions.sum()).clamp(min=1)
    return owner.clamp(max=world - 1) == rank


def put_together(values: Tensor) -> Tensor:
    """Sum over ranks of tensors that are zero outside the rank's own share, hence exact; same shape on every rank."""
    if own_share()[1] == 1:
        return values
    shared = _movable(values).clone()
    dist.all_reduce(shared)
    return shared.to(values.device)


def of_all_ranks(values: Tensor) -> Tensor:
    """The tensors of all ranks, of the same shape on each: (ranks, ...)."""
    if own_share()[1] == 1:
        return values[None]
    own = _movable(values).contiguous()
    found = [torch.empty_like(own) for _ in range(own_share()[1])]
    dist.all_gather(found, own)
    return torch.stack(found).to(values.device)


def _movable(values: Tensor) -> Tensor:
    # NCCL moves tensors of GPUs only, whatever device the features were kept on.
    return values.cuda() if dist.get_backend() == "nccl" else values
