"""Ranks, devices, precision, keyed random numbers."""

from .devices import hand_over, own_device
from .full_precision import full_precision
from .gathering import log_sum_exp_over_ranks, rows_of_ranks
from .keyed_random import keyed_uniform, keyed_uniforms
from .sharing import leave_process_group, on_first_rank, own_slides, sum_over_ranks
from .workers import outlive_signals, want_workers

__all__ = [
    "full_precision",
    "hand_over",
    "keyed_uniform",
    "keyed_uniforms",
    "leave_process_group",
    "log_sum_exp_over_ranks",
    "on_first_rank",
    "outlive_signals",
    "own_device",
    "own_slides",
    "rows_of_ranks",
    "sum_over_ranks",
    "want_workers",
]
