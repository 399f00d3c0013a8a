"""A command of a page in the page's folder: how it ended, after how long, what it said; and the log of all of them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..pins.records import JsonLines
from .printed import PYTHON, Printed
from .table import Plan

LONGEST_S = 600.0  # of what takes five minutes on a machine that has nothing else to do
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def run(one: Printed, plan: Plan, folder: Path, log: Path) -> tuple[bool, float]:
    """Whether it ended well, and its seconds; all that it said is in ``log``."""
    line = plan.line
    if one.kind == PYTHON:
        (folder / "printed.py").write_text(line, encoding="utf-8")
        line = "python printed.py"
    path = os.pathsep.join([str(folder / "scripts"), str(folder / ".venv" / "bin"), os.environ.get("PATH", "")])
    variables = {**os.environ, **_ONE_THREAD, "PATH": path, "MPLBACKEND": "Agg", "PYTHONPATH": str(folder)}
    if plan.alone:
        shutil.rmtree(folder / plan.alone, ignore_errors=True)
    started = time.monotonic()
    with open(log, "w", encoding="utf-8") as said:
        said.write(f"{line}\n\n")
        said.flush()
        process = subprocess.Popen(
            ["bash", "-c", line], cwd=folder, env=variables, stdin=subprocess.DEVNULL, stdout=said,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            status = process.wait(LONGEST_S)
        except subprocess.TimeoutExpired:
            said.write(f"\nnot done after {LONGEST_S:.0f} s\n")
            status = -1
        finally:
            _end(process)
    return status == 0, time.monotonic() - started


def _end(process: subprocess.Popen[bytes]) -> None:
    """What the command has started and left behind ends with it."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class Log(JsonLines):
    """What became of each command."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, ("page", "heading", "text"))

    def of(self, one: Printed) -> dict[str, Any] | None:
        """What became of a command that a page prints; None where it was not run."""
        return self.records.get((one.page, one.heading, one.text))

    def has_passed(self, one: Printed, plan: Plan) -> bool:
        """Whether exactly this was run and ended well."""
        entry = self.of(one)
        return entry is not None and entry["passed"] and entry["line"] == plan.line

    def has_failed(self, all_printed: Iterable[Printed]) -> bool:
        """Whether any of these has; what a page printed once counts no more."""
        return any(not entry["passed"] for one in all_printed if (entry := self.of(one)) is not None)

    def add(self, one: Printed, plan: Plan, passed: bool, seconds: float) -> None:
        """Keep how a command ended."""
        printed = {"page": one.page, "heading": one.heading, "text": one.text}
        self.append({**printed, "line": plan.line, "passed": passed, "seconds": round(seconds, 1)})
