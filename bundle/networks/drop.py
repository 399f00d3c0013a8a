"""Stochastic depth driven by given numbers: it skips the work of dropped branches, or masks them on a GPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


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
    dropped = draws < _as_row(rates, draws)
    order = torch.sort(dropped.to(torch.uint8), dim=0, stable=True)[1]
    counts: list[int] = (dropped.shape[0] - dropped.sum(0)).tolist()
    return order, counts


def keep_scales(draws: Tensor, rates: list[float]) -> Tensor:
    """What each branch of each sample is multiplied with, (B, n): 0 where :func:`keep_rows` drops it, else 1 / keep.

    Shapes then do not depend on the draws: a GPU waits for no count, and ``torch.compile`` makes one kernel of it.
    """
    row = _as_row(rates, draws)
    return (draws >= row) * (1.0 / (1.0 - row))


def _as_row(rates: list[float], draws: Tensor) -> Tensor:
    if draws.dim() != 2 or draws.shape[1] != len(rates):
        raise ValueError(f"draws must be (B, {len(rates)}): got {list(draws.shape)}. Take n_draws of the network.")
    return torch.tensor(rates, dtype=draws.dtype).to(draws.device, non_blocking=True)


def add_branch(x: Tensor, branch: Tensor, rows: Tensor, keep: float) -> Tensor:
    """``x`` (B, ...) plus ``branch / keep`` (b, ...) on the samples ``rows`` (b); the expectation is the full sum."""
    return x.index_add(0, rows, branch.to(x.dtype), alpha=1.0 / keep)


def add_scaled(x: Tensor, branch: Tensor, scales: Tensor) -> Tensor:
    """``x`` (B, N, dim) plus ``branch`` (B, N, dim) times each sample's scale (B), in the dtype of ``x``."""
    scales = scales[:, None, None].to(x.dtype)  # 1 / keep would be rounded in bf16
    if torch.jit.is_scripting():
        return torch.addcmul(x, branch.to(x.dtype), scales)
    return _add_scaled(x, branch, scales)


@torch.jit.unused
def _add_scaled(x: Tensor, branch: Tensor, scales: Tensor) -> Tensor:
    if torch.compiler.is_compiling():  # makes one kernel of it, forward and backward
        return torch.addcmul(x, branch.to(x.dtype), scales)
    return _AddScaled.apply(x, branch, scales)


class _AddScaled(torch.autograd.Function):
    """A kernel forward, one backward; autocast would convert the branch, and its gradient, in kernels of their own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, branch: Tensor, scales: Tensor) -> Tensor:
        ctx.save_for_backward(scales)
        ctx.dtype = branch.dtype
        with torch.autocast(x.device.type, enabled=False):
            return torch.addcmul(x, branch, scales)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        (scales,) = ctx.saved_tensors
        return gradient, torch.mul(gradient, scales, out=torch.empty_like(gradient, dtype=ctx.dtype)), None
