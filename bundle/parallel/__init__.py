"""Ranks, devices, precision, keyed random numbers."""

from .first_rank import on_first_rank
from .full_precision import full_precision
from .keyed_random import keyed_uniform, keyed_uniforms
from .own_device import own_device
from .process_group import leave_process_group
from .sharing import own_slides, sum_over_ranks
from .to_device import hand_over

__all__ = [
    "full_precision",
    "hand_over",
    "keyed_uniform",
    "keyed_uniforms",
    "leave_process_group",
    "on_first_rank",
    "own_device",
    "own_slides",
    "sum_over_ranks",
]
