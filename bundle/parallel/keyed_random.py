"""Random numbers that are a pure function of what they are for."""

from __future__ import annotations

import torch
from torch import Tensor

_WORD = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_MULTIPLIERS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


def keyed_uniform(seed: int, epoch: int, ids: Tensor, stream: int, n: int) -> Tensor:
    """Draw ``n`` uniforms for each id, from nothing but the key ``(seed, epoch, id, stream, position)``.

    There is no state to advance, so the numbers of one id do not depend on the other ids of the batch, on the order
    of calls, on workers, on ranks or on the device: integer arithmetic modulo 2^64 gives the same bits everywhere.

    Args:
        seed: seed of the run, any integer.
        epoch: epoch (or any second counter), any integer.
        ids: integers, shape (B,), on the device where the result is wanted.
        stream: what the numbers are for; two uses that must not share numbers take two streams.
        n: numbers per id, at least 0.

    Returns:
        float32 of shape (B, n), multiples of 2^-24 in [0, 1).

    Raises:
        ValueError: ``ids`` is not an integer tensor of one dimension, or ``n`` is negative.

    References:
        Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014 (the finalizer, there of
        Stafford's "Mix13").
    """
    return keyed_uniforms(seed, epoch, ids, stream, 1, n)[0]


def keyed_uniforms(seed: int, epoch: int, ids: Tensor, stream: int, n_streams: int, n: int) -> Tensor:
    """What :func:`keyed_uniform` draws for ``stream``, ``stream + 1``, ..., shape (n_streams, B, n), in one go."""
    if ids.dim() != 1 or ids.is_floating_point() or ids.dtype == torch.bool:
        raise ValueError(f"ids must be integers of shape (B,): got {ids.dtype} of shape {tuple(ids.shape)}.")
    if n < 0:
        raise ValueError(f"n must be at least 0: got {n}.")
    key = 0
    for part in (seed, epoch):
        key = _mix_int((key + _GOLDEN) & _WORD ^ _mix_int(part + _GOLDEN))
    own = [_mix_int((key + _GOLDEN) & _WORD ^ _mix_int(stream + i + _GOLDEN)) for i in range(n_streams)]
    keys = torch.tensor([_signed(word) for word in own], dtype=torch.int64).to(ids.device, non_blocking=True)
    states = _mix((ids.long() * _signed(_GOLDEN)) ^ keys[:, None])
    position = torch.arange(1, n + 1, device=ids.device) * _signed(_GOLDEN)
    bits = _mix(states[..., None] + position)
    return _shift_right(bits, 40).to(torch.float32) * 2.0**-24


def _signed(word: int) -> int:
    return word - (1 << 64) if word >= 1 << 63 else word


def _shift_right(words: Tensor, n_bits: int) -> Tensor:
    """Logical shift; torch's own keeps the sign."""
    return (words >> n_bits) & ((1 << (64 - n_bits)) - 1)


def _mix(words: Tensor) -> Tensor:
    words = (words ^ _shift_right(words, 30)) * _signed(_MULTIPLIERS[0])
    words = (words ^ _shift_right(words, 27)) * _signed(_MULTIPLIERS[1])
    return words ^ _shift_right(words, 31)


def _mix_int(word: int) -> int:
    word &= _WORD
    word = ((word ^ (word >> 30)) * _MULTIPLIERS[0]) & _WORD
    word = ((word ^ (word >> 27)) * _MULTIPLIERS[1]) & _WORD
    return word ^ (word >> 31)
