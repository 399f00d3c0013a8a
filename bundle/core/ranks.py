"""Which of several processes this one is, before any of them speaks to the others."""

import os


def own_rank() -> int:
    """As torchrun has numbered it; 0 without torchrun."""
    return int(os.environ.get("RANK", "0"))


def own_world_size() -> int:
    """How many there are of it, as torchrun, or an array of Slurm, says; 1 without either."""
    return int(os.environ.get("WORLD_SIZE", "1"))
