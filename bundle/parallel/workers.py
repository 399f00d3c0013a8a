"""Processes that read for a run do not end before it."""

from __future__ import annotations

import mmap
import os
import signal
from types import FrameType

from ..core import ENDING

_is_wanted = mmap.mmap(-1, 1)  # forked workers share it


def want_workers(wanted: bool) -> None:
    """Say that a run is under way, or that it is over; heard by all workers that this process has forked."""
    _is_wanted[0] = int(wanted)


def outlive_signals(worker: int) -> None:
    """``worker_init_fn`` of a ``DataLoader``: while a run wants its workers they do not end by SIGTERM or SIGUSR1.

    Slurm tells all processes of a job to end. A worker that does so at once raises an error in the process that trains,
    wherever that is: in the middle of a step, or while the checkpoint is written.

    Args:
        worker: its number, which makes no difference.
    """
    for number in ENDING:
        signal.signal(number, _heed)


def _heed(number: int, frame: FrameType | None) -> None:
    if not _is_wanted[0]:
        os._exit(0)
