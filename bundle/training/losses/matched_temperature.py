"""The temperature at which prototypes are targets as sharp as the teacher's views are."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...parallel import sum_over_ranks

_REACH = 32.0  # how far from the start the temperature may be, as a factor
_HALVINGS = 32  # of the range of its logarithm


@torch.no_grad()
def mean_entropy(logits: Tensor, valid: Tensor, temperature: float | Tensor) -> Tensor:
    """Mean entropy in nats of ``softmax(logits / temperature)`` over the valid rows of all ranks; none: 0.

    Args:
        logits: with the center taken out, shape (..., K), finite.
        valid: which rows count, shape (...), bool.
        temperature: above 0.
    """
    log_shares = (logits / temperature).log_softmax(-1)
    entropy = -(log_shares.exp() * log_shares).sum(-1)
    sums = torch.stack([torch.where(valid, entropy, 0.0).sum(), valid.sum().to(entropy.dtype)])
    total, count = sum_over_ranks(sums).unbind()
    return total / count.clamp(min=1)


@torch.no_grad()
def matched_temperature(entropy_at: Callable[[Tensor], Tensor], wanted: Tensor, start: float | Tensor) -> Tensor:
    """The temperature at which an entropy is the wanted one, by bisection on the device, without waiting for it.

    Args:
        entropy_at: entropy at a temperature, which it does not fall with; the same on every rank.
        wanted: entropy, scalar.
        start: middle of the range, above 0; what is found lies within a factor of 32 of it, at an end of the range
            where the entropy does not reach ``wanted``.
    """
    ends = start / _REACH, start * _REACH
    low, high = (torch.as_tensor(end, dtype=wanted.dtype, device=wanted.device).log() for end in ends)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        is_below = entropy_at(middle.exp()) < wanted
        low, high = torch.where(is_below, middle, low), torch.where(is_below, high, middle)
    return ((low + high) / 2).exp()
