"""Ranks, devices, precision, keyed random numbers."""

from .first_rank import on_first_rank
from .full_precision import full_precision
from .keyed_random import keyed_uniform, keyed_uniforms
from .own_device import own_device
from .process_group import leave_process_group
from .reduction import sum_over_ranks, world_size
from .sharing import of_all_ranks, own_share, own_slides, put_together
from .to_device import hand_over

__all__ = [
    "full_precision",
    "hand_over",
    "keyed_uniform",
    "keyed_uniforms",
    "leave_process_group",
    "of_all_ranks",
    "on_first_rank",
    "own_device",
    "own_share",
    "own_slides",
    "put_together",
    "sum_over_ranks",
    "world_size",
]
