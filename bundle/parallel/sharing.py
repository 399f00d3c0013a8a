"""The processes of a run: which share is whose, what one does for all, and results put together."""

from __future__ import annotations

from collections.abc import Callable

import ignite.distributed as idist
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from ..core import BundleError


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
    """Sum ``values`` (same shape on every rank) over all ranks, without gradient; with one rank, they are it.

    Of tensors that are zero outside the rank's own share it is exact.
    """
    if idist.get_world_size() == 1:
        return values.detach()
    total = values.detach().clone()
    if idist.backend() != "gloo":
        return idist.all_reduce(total)
    dist.all_reduce(total)  # Ignite would send it through a GPU, wherever there is one
    return total


def on_first_rank(action: Callable[[], object]) -> None:
    """Run ``action`` on rank 0 while the others wait; if it fails there, every rank fails.

    Otherwise the others would wait for rank 0 until somebody ends them.

    Raises:
        BundleError: what rank 0 raised, on the other ranks too.
    """
    problem: Exception | None = None
    if idist.get_rank() == 0:
        try:
            action()
        except Exception as error:
            problem = error
    if idist.get_world_size() > 1:
        told = idist.all_gather("" if problem is None else str(problem) or type(problem).__name__)[0]
        if told and problem is None:
            raise BundleError(f"process 0 failed, so process {idist.get_rank()} stops: {told}")
    if problem is not None:
        raise problem


def leave_process_group(network: DistributedDataParallel) -> None:
    """End the group and its threads; ``network`` trains no more. For a run that went well: it waits for the others.

    Gloo's threads take Python's lock when they let go of a tensor. ``network`` keeps them alive beyond
    ``destroy_process_group``, and one that waits for the lock when Python ends aborts the process ("terminate called
    without an active exception"), which torchrun takes for a failed run. So does ``torch.distributed.nn`` if it is
    imported after the group began: it keeps the group in its functions' defaults.
    """
    for name in ("reducer", "logger", "process_group"):
        network.__dict__.pop(name, None)
    if dist.is_initialized():
        dist.destroy_process_group()
