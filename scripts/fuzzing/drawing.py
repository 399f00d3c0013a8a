"""One parser, many draws: what it answers with, how long it takes and how much memory."""

from __future__ import annotations

import faulthandler
import logging
import resource
import signal
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from bundle.core import ROOT, BundleError

_SLOW_S = 5.0  # of the processor in Python code, which is stopped then
_HANG_S = 60.0  # of native code, at which the process ends
_JUMP_MIB = 1024


class Target(NamedTuple):
    """A parser and what it is given.

    Attributes:
        name: of what is read.
        suffix: of the file.
        contents: what the file may hold.
        parse: reads a file; whatever it raises beside :class:`BundleError` is a finding.
    """

    name: str
    suffix: str
    contents: st.SearchStrategy[bytes]
    parse: Callable[[Path], object]


class Finding(NamedTuple):
    """What should not have happened: of which parser, what, where in the bundle, and a file that shows it."""

    target: str
    what: str
    where: str
    file: str


class _TooSlow(BaseException):
    """Nothing that a parser catches."""


class Count(NamedTuple):
    """What became of a target's draws."""

    n_read: int
    n_refused: int
    findings: list[Finding]


def draw(target: Target, n_draws: int, number: int, folder: Path) -> Count:
    """Give a parser files, one after the other.

    Args:
        target: the parser.
        n_draws: how many files.
        number: seed.
        folder: a file lies there while it is read, and files that show something stay.
    """
    counts, findings = {"read": 0, "refused": 0}, dict[tuple[str, str], Finding]()
    current = folder / f"file{target.suffix}"

    @seed(number)
    @settings(max_examples=n_draws, database=None, deadline=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(target.contents)
    def once(contents: bytes) -> None:
        current.write_bytes(contents)
        outcome, found = _outcome(target, current)
        counts[outcome] = counts.get(outcome, 0) + 1
        if found is not None and found[:2] not in findings:
            kept = folder / f"{target.name.replace(' ', '_')}_{number}_{len(findings)}{target.suffix}"
            kept.write_bytes(contents)
            kept.with_name(kept.name + ".txt").write_text(found[2], encoding="utf-8", errors="replace")
            findings[found[:2]] = Finding(target.name, *found[:2], str(kept))

    with _quiet():
        once()
    return Count(counts["read"], counts["refused"], list(findings.values()))


def _outcome(target: Target, path: Path) -> tuple[str, tuple[str, str, str] | None]:
    """What became of a draw, and what is to be said of it: in a word, where, and in full."""
    memory, started = _peak_mib(), time.perf_counter()
    outcome, found = "read", None
    try:
        with _limits():
            target.parse(path)
    except BundleError as error:
        outcome = "refused"
        if not str(error).strip():
            found = ("no words", _place(error), "")
    except (Exception, _TooSlow) as error:
        outcome, found = "fault", (type(error).__name__, _place(error), "".join(traceback.format_exception(error)))
    if found is None and (grown := _peak_mib() - memory) > _JUMP_MIB:
        outcome, found = (
            "fault",
            ("memory", f"{grown // 256 * 256} MiB", f"after {time.perf_counter() - started:.1f} s"),
        )
    return outcome, found


@contextmanager
def _limits() -> Any:
    faulthandler.dump_traceback_later(_HANG_S, exit=True)
    signal.signal(signal.SIGPROF, _stop)
    signal.setitimer(signal.ITIMER_PROF, _SLOW_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        faulthandler.cancel_dump_traceback_later()


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise _TooSlow(f"longer than {_SLOW_S:g} s")


def _place(error: BaseException) -> str:
    """The innermost line of the bundle that is on the way to the error."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if str(ROOT / "bundle") in frame.filename]
    if not frames:
        return "outside"
    return f"{Path(frames[-1].filename).relative_to(ROOT)}:{frames[-1].name}"


def _peak_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


@contextmanager
def _quiet() -> Any:
    """Warnings of parsers are not of interest here."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
