"""Products of single precision that are that."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def full_precision() -> Iterator[None]:
    """Within, float32 matrix products use no TF32 and no bfloat16, whatever the user or the system allows elsewhere.

    Bounds of cosines are compared to 1e-5, and equal points are recognized to 1e-6: TF32 is not as good as that.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
