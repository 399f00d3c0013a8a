"""A process that is told to end says what is kept, and ends."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType

ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name)]  # Slurm, Kubernetes
KEPT = (
    "Finished slides, and epochs up to the last checkpoint, are kept: the same command goes on with the next slide, "
    "training with --resume true."
)


def end_when_told() -> None:
    """From here on SIGTERM and SIGUSR1 end this process with a word and status 128 + signal, by ``SystemExit``.

    So what is open is closed and parts of files are taken away, which the system's own way leaves. Training puts its
    own in their place, which saves first (:class:`~bundle.training.StopHandler`).
    """
    if threading.current_thread() is not threading.main_thread():
        return
    ours = os.getpid()

    def end(number: int, frame: FrameType | None) -> None:
        if os.getpid() == ours:  # processes that read for this one have nothing to say
            print(f"\nStopped by {signal.Signals(number).name}. {KEPT}", file=sys.stderr, flush=True)
        raise SystemExit(128 + number)

    for number in ENDING:
        signal.signal(number, end)
