"""Trials one after the other, those in the log left out; what commands that hold them have in common."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from .commands import ROOT
from .outcomes import Log, Outcome

Trial = tuple[str, str, int]  # fault, command, seed


def add_options(parser: argparse.ArgumentParser, folder: str) -> None:
    """How many trials, which, and where; ``folder`` lies in ``eval`` where none is given."""
    add = parser.add_argument
    add("--trials", type=int, default=1, help="of each fault on each command (1)")
    add("--seed", type=int, default=0, help="of the first trial; the next ones follow (0)")
    add("--again", action="store_true", help="also what is in the log")
    what = f"of cohort, log and broken trials (eval/{folder})"
    add("--folder", type=Path, default=ROOT / "eval" / folder, help=what)


def hold(trials: Iterable[Trial], log: Log, strike: Callable[[str, str, int], Outcome | None], is_again: bool) -> None:
    """Strike, and note what became of it at once.

    Args:
        trials: in their order.
        log: trials in it are left out, unless ``is_again``.
        strike: holds one; None: there was nothing to strike any more.
    """
    for fault, command, seed in trials:
        if (fault, command, seed) in log.records and not is_again:
            continue
        started = time.monotonic()
        outcome = strike(fault, command, seed)
        if outcome is not None:
            log.add(fault, command, seed, outcome, time.monotonic() - started)
            mark = "" if outcome.is_good else f"  NOT AS PROMISED: {outcome.detail}"
            print(f"{fault} {command} {seed}: {outcome.kind}{mark}", flush=True)
