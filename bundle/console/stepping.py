"""Steps of a chain, each in a process of its own, forked from one that has imported MONAI already."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from ..core.errors import BundleError
from .commands import COMMANDS
from .drawing import draw
from .running import run
from .talking import duration

_PRELOADED = ["monai.bundle"]  # most of what a short step does is to import it


@dataclass
class Step:
    """One subcommand of a chain: its name (or ``draw``), what is said of it, and its words."""

    command: str
    title: str
    words: list[str] = field(default_factory=list)


def run_steps(steps: Sequence[Step], is_verbose: bool) -> int:
    """Run steps until one fails.

    Args:
        steps: in their order.
        is_verbose: whether each says all that it has to say.

    Returns:
        0, or the status of the step that failed; what the steps before it have made stays.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    for number, step in enumerate(steps, 1):
        print(f"[{number}/{len(steps)}] {step.title}", flush=True)
        started = time.monotonic()
        process = context.Process(target=_in_process, args=(step, is_verbose), name=f"slpd {step.command}")
        with _handing_on(process) as arrived:
            process.start()
            arrived()
            process.join()
        status = process.exitcode or 0
        if status:
            told = f"slpd: step {number}, {step.command}, ended with status {abs(status)}"
            print(f"{told}; the same command, mended, goes on from here.", file=sys.stderr)
            return 128 - status if status < 0 else status
        print(f"      {duration(time.monotonic() - started)}", flush=True)
    return 0


def _in_process(step: Step, is_verbose: bool) -> None:
    """A step in its own process; ends it with the step's status."""
    try:
        status = _run(step, is_verbose)
    except SystemExit as told:
        status = told.code if isinstance(told.code, int) else int(told.code is not None)
    except BundleError as error:  # before the run has begun
        print(f"slpd: {error}", file=sys.stderr)
        status = 2
    except BaseException:
        sys.excepthook(*sys.exc_info())  # a run's own: it makes errors of users one message
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    if status:
        sys.exit(status)


def _run(step: Step, is_verbose: bool) -> int:
    if step.command == "draw":
        return draw(step.words[0])
    return run(COMMANDS[step.command], [*step.words, f"--verbose={str(is_verbose).lower()}"], is_step=True)


@contextmanager
def _handing_on(process: Any) -> Iterator[Callable[[], None]]:
    """Signals go on to the step, which saves and ends; an interrupt reaches a step that has begun by itself.

    What comes while a step is being started, which takes seconds, is kept; the function that is given hands it on.
    """
    early: list[int] = []

    def hand_on(number: int, frame: FrameType | None) -> None:
        if not process.pid:
            early.append(number)
        elif number != signal.SIGINT:
            os.kill(process.pid, number)

    def arrived() -> None:
        for number in early:
            os.kill(process.pid, number)

    told = [getattr(signal, name) for name in ("SIGTERM", "SIGUSR1", "SIGINT") if hasattr(signal, name)]
    before = {number: signal.signal(number, hand_on) for number in told}
    try:
        yield arrived
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
