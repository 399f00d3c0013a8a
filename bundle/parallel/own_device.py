"""Which GPU a process takes."""

import os

import torch


def own_device(device: torch.device | str) -> torch.device:
    """``cuda`` without a number is shared out among this machine's processes, as torchrun counts them."""
    device = torch.device(device)
    if device.type != "cuda" or device.index is not None or not torch.cuda.is_available():
        return device
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
