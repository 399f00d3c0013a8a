"""Processes that read for another one."""

import signal

from ..core import ENDING


def leave_signals_to_parent(worker: int) -> None:
    """``worker_init_fn`` of a ``DataLoader``: its parent decides when to stop, and needs workers until then.

    Slurm sends SIGTERM to all processes of a job. A worker ends with its parent in any case.

    Args:
        worker: its number, which makes no difference.
    """
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
