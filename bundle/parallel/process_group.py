"""The end of a run in several processes."""

import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel


def leave_process_group(network: DistributedDataParallel) -> None:
    """End the group and its threads; ``network`` trains no more. For a run that went well: it waits for the others.

    Gloo's threads take Python's lock when they let go of a tensor. ``network`` keeps them alive beyond
    ``destroy_process_group``, and one that waits for the lock when Python ends aborts the process ("terminate called
    without an active exception"), which torchrun takes for a failed run. So does ``torch.distributed.nn`` if it is
    imported after the group began: it keeps the group in its functions' defaults.
    """
    for name in ("reducer", "logger", "process_group"):
        network.__dict__.pop(name, None)
    if dist.is_initialized():
        dist.destroy_process_group()
