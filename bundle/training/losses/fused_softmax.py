"""The running softmax of a chunk of logits in one kernel: read once from memory, written once. For GPUs with Triton."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

_BLOCK = 2048


class Added(NamedTuple):
    """What :func:`add_chunk` returns, each (rows, 1).

    Attributes:
        peak: largest logit so far.
        total: sum of exponentials so far, over that peak.
        expected: sum of exponentials times logits so far.
        decay: factor for whatever was summed before.
    """

    peak: Tensor
    total: Tensor
    expected: Tensor
    decay: Tensor


def fuses(products: Tensor, sum_dtype: torch.dtype) -> bool:
    """Whether :func:`add_chunk` takes these products: on a GPU, sums in float32, and Triton is there."""
    return products.is_cuda and sum_dtype == torch.float32 and _kernel() is not None


def add_chunk(
    products: Tensor, centers: Tensor, n_regions: int, before: tuple[Tensor, Tensor, Tensor], out: Tensor
) -> Added:
    """Logits are the products, less a center in the last rows; ``out`` becomes exp(logits - peak).

    Args:
        products: (rows, C), float32 or bfloat16, rows contiguous.
        centers: (T, C), float32, for the last T * n_regions rows, n_regions rows each.
        n_regions: at least 1.
        before: peak, total and expected (rows, 1) of the chunks before, float32.
        out: (rows, C), float32 or bfloat16, rows contiguous.
    """
    n_rows, n_columns = products.shape
    found = Added(*(torch.empty_like(before[0]) for _ in Added._fields))
    if n_rows:
        _kernel()[(n_rows,)](
            *(products, centers, *before, *found, out, n_columns),
            *(products.stride(0), centers.stride(0), out.stride(0)),
            *(n_rows - len(centers) * n_regions, n_regions),
            BLOCK=_BLOCK,
            num_warps=8,
        )
    return found


@lru_cache(maxsize=1)
def _kernel() -> Any:
    """The compiled kernel; None without Triton."""
    try:
        from .softmax_kernel import exponentials
    except ImportError:
        return None
    return exponentials
