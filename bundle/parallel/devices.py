"""Which GPU a process takes, and small things from the host to where they are needed."""

from __future__ import annotations

import os

import torch
from torch import Tensor


def own_device(device: torch.device | str) -> torch.device:
    """``cuda`` without a number is shared out among this machine's processes, as torchrun counts them."""
    device = torch.device(device)
    if device.type != "cuda" or device.index is not None or not torch.cuda.is_available():
        return device
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())


def hand_over(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on ``device``. A GPU's host does not wait for the copy, however much work is queued before it."""
    if tensor.device.type == "cpu" and device.type == "cuda":
        tensor = tensor.pin_memory()  # other memory is copied by a host that waits, unless it is small
    return tensor.to(device, non_blocking=True)
