"""Stochastic depth driven by given numbers: dropped branches are multiplied with 0."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def keep_scales(draws: Tensor, rates: list[float], dtype: torch.dtype = torch.float32) -> Tensor:
    """What each branch of each sample is multiplied with: 0 where its draw is below its rate, else 1 / (1 - rate).

    Shapes do not depend on the draws: a GPU waits for no count, and ``torch.compile`` makes one kernel of it. On a CPU,
    too: leaving out the rows of dropped branches gains nothing at the published rates (0.98 as quick in a step).

    Args:
        draws: uniforms in [0, 1), shape (B, n).
        rates: drop probability of each branch, in [0, 1), length n.
        dtype: of the result, (B, n).

    References:
        Huang et al., "Deep networks with stochastic depth", ECCV 2016.
    """
    if draws.dim() != 2 or draws.shape[1] != len(rates):
        raise ValueError(f"draws must be (B, {len(rates)}): got {list(draws.shape)}. Take n_draws of the network.")
    if torch.jit.is_scripting():
        row, scales = _rates_and_scales(rates, draws.dtype, dtype, draws.device)
    else:
        row, scales = _known(rates, draws, dtype)
    return (draws >= row) * scales


def _rates_and_scales(
    rates: list[float], dtype: torch.dtype, scale_dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    row = torch.tensor(rates, dtype=dtype).to(device, non_blocking=True)
    scales = torch.tensor([1.0 / (1.0 - rate) for rate in rates], dtype=scale_dtype).to(device, non_blocking=True)
    return row, scales


@torch.jit.unused
def _known(rates: list[float], draws: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Copied to the device once: a CUDA graph of a step would copy them from memory of the host that is used anew.

    A compiler makes them part of its kernel.
    """
    if torch.compiler.is_compiling():
        row = torch.stack([draws.new_full((), rate) for rate in rates])
        return row, torch.stack([draws.new_full((), 1.0 / (1.0 - rate), dtype=dtype) for rate in rates])
    return _copied_once(tuple(rates), draws.dtype, dtype, draws.device)


@lru_cache(maxsize=16)
def _copied_once(
    rates: tuple[float, ...], dtype: torch.dtype, scale_dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    return _rates_and_scales(list(rates), dtype, scale_dtype, device)


def add_scaled(x: Tensor, branch: Tensor, scales: Tensor | None) -> Tensor:
    """``x`` (B, N, dim) plus ``branch`` (B, N, dim) times each sample's scale (B), in the dtype of ``x``; None: 1."""
    if scales is None:
        return x + branch
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
