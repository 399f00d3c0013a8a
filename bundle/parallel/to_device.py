"""Small things from the host to where they are needed."""

from __future__ import annotations

import torch
from torch import Tensor


def hand_over(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on ``device``. A GPU's host does not wait for the copy, however much work is queued before it."""
    if tensor.device.type == "cpu" and device.type == "cuda":
        tensor = tensor.pin_memory()  # other memory is copied by a host that waits, unless it is small
    return tensor.to(device, non_blocking=True)
