"""Products of single precision that are that."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def full_precision() -> Iterator[None]:
    """Within, float32 matrix products use no TF32 and no bfloat16, whatever the user or the system allows elsewhere.

    Bounds of cosines are compared to 1e-5, and equal points are recognized to 1e-6: TF32 is not as good as that.
    """
    # torch.set_float32_matmul_precision would fail where somebody has set a backend's precision by itself.
    backends: list[Any] = [torch.backends.cuda.matmul, torch.backends.mkldnn.matmul]  # type: ignore[attr-defined]
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "ieee"
        yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision
