"""Which of several processes this one is, before any of them speaks to the others."""

import os


def own_rank() -> int:
    """As torchrun has numbered it; 0 without torchrun."""
    return int(os.environ.get("RANK", "0"))
