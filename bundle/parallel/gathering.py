"""Rows of all processes, in the order in which a batch was dealt out to them."""

from __future__ import annotations

from typing import NamedTuple

import ignite.distributed as idist
import torch
from torch import Tensor

from .sharing import sum_over_ranks


class GatheredRows(NamedTuple):
    """What :func:`rows_of_ranks` returns; N is the number of ranks times the most rows that one of them holds.

    Attributes:
        rows: shape (N, ...), the same on every rank but for gradients; zeros stand in where a rank has fewer.
        valid: which of them are rows, shape (N,), bool.
    """

    rows: Tensor
    valid: Tensor


def rows_of_ranks(rows: Tensor) -> GatheredRows:
    """Rows (n, ...) of every rank; ranks may hold different numbers. Row i of rank r of w is in place i w + r.

    Gradients flow to this rank's own rows. With several ranks it waits for the device once, to learn their numbers.
    """
    rank, world = idist.get_rank(), idist.get_world_size()
    if world == 1:
        return GatheredRows(rows, rows.new_ones(len(rows), dtype=torch.bool))
    counts = rows.new_zeros(world, dtype=torch.float32)
    counts[rank] = len(rows)
    counts = sum_over_ranks(counts)
    n_most = int(counts.max())
    own = rows.new_zeros((n_most, world, *rows.shape[1:]))
    own[: len(rows), rank] = rows.detach()
    found = sum_over_ranks(own)
    found[: len(rows), rank] = rows
    places = torch.arange(n_most, device=rows.device)[:, None]
    return GatheredRows(found.flatten(0, 1), (places < counts).flatten())


def log_sum_exp_over_ranks(values: Tensor) -> Tensor:
    """``log sum_i exp(values_i)`` over the rows (n, K) of all ranks, shape (K,), without gradient; no row: -inf."""
    own = values.detach().logsumexp(0)
    if idist.get_world_size() == 1:
        return own
    shares = own.new_zeros((idist.get_world_size(), *own.shape))
    shares[idist.get_rank()] = own
    return sum_over_ranks(shares).logsumexp(0)
