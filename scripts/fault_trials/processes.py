"""Real processes, quick to start: forks of this one, which has imported what takes seconds, but not the bundle."""

from __future__ import annotations

import ctypes
import importlib
import os
import resource
import runpy
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from .commands import ROOT

_CHANGES = frozenset({"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate", "os.symlink"})
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_NETWORK = (socket.AF_INET, socket.AF_INET6)
_EVERY_S = 0.002
_DIES_WITH_PARENT = 1  # PR_SET_PDEATHSIG of Linux
NO_NETWORK = 86  # exit status of a process that asked for the network


class Ended(NamedTuple):
    """How a process ended: exit status (minus a signal), seconds, all that it said, changes of files that it made."""

    status: int
    seconds: float
    said: str
    n_changes: int


class Limits(NamedTuple):
    """What is done to a process from within.

    Attributes:
        die_at: change of a file (open to write, rename, remove, ...) below ``out`` before which it kills itself and
            its group; 0: never.
        file_bytes: a file may have no more; 0: any size.
        more_bytes: address space beyond what it begins with; 0: any.
        clock_s: by how much its clock jumps, at its third change.
    """

    die_at: int = 0
    file_bytes: int = 0
    more_bytes: int = 0
    clock_s: float = 0.0


FREE = Limits()


def import_what_takes_long() -> None:
    """Processes that are started from now on have it already."""
    for name in ("matplotlib.pyplot", "monai.bundle", "sklearn.linear_model", "torch.utils.tensorboard"):
        importlib.import_module(name)


class Process:
    """``python -m words`` in a folder and a process group of its own; what it says goes to ``<folder>.log``."""

    def __init__(self, words: list[str], folder: Path, limits: Limits = FREE, log: Path | None = None) -> None:
        self.log = folder.with_name(f"{folder.name}.log") if log is None else log
        self.folder, self._counter = folder, self.log.with_suffix(".changes")
        self._counter.unlink(missing_ok=True)
        self._before = self.log.stat().st_size if self.log.exists() else 0
        self._started = time.monotonic()
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            _become(words, folder, self.log, self._counter, limits)

    def wait(self, seconds: float, meanwhile: Callable[[float], Any] | None = None) -> Ended:
        """Until it ends; after ``seconds``, or when ``meanwhile`` (of seconds) says True, its group is killed."""
        while True:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            took = time.monotonic() - self._started
            if ended:
                break
            if took > seconds or (meanwhile is not None and meanwhile(took)):
                with suppress(ProcessLookupError):
                    os.killpg(self.pid, signal.SIGKILL)
                status = os.waitpid(self.pid, 0)[1]
                break
            time.sleep(_EVERY_S)
        with suppress(ProcessLookupError):  # what it started and left behind
            os.killpg(self.pid, signal.SIGKILL)
        n_changes = self._counter.stat().st_size if self._counter.exists() else 0
        return Ended(os.waitstatus_to_exitcode(status), took, self.said(), n_changes)

    def stop(self) -> None:
        """Halt it and its group, until SIGCONT; it goes on for a moment after it was told, which is waited for."""
        os.killpg(self.pid, signal.SIGSTOP)
        while Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] not in "TZ":
            time.sleep(_EVERY_S)

    def said(self) -> str:
        """All that it has said so far."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as file:
            file.seek(self._before)
            return file.read().decode("utf-8", errors="replace")


def _become(words: list[str], folder: Path, log: Path, counter: Path, limits: Limits) -> NoReturn:
    """Be the command; ends as the interpreter would."""
    status = 1
    try:
        os.setpgid(0, 0)
        ctypes.CDLL(None).prctl(_DIES_WITH_PARENT, signal.SIGKILL)
        os.chdir(folder)
        for stream, path in enumerate((Path(os.devnull), log, log)):
            flags = os.O_RDONLY if stream == 0 else os.O_WRONLY | os.O_CREAT | os.O_APPEND
            os.dup2(os.open(path, flags, 0o666), stream)
        sys.addaudithook(_Watch(counter, limits))
        _limit(limits)
        os.environ["PYTHONPATH"] = str(ROOT)
        sys.argv = words[:]
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        _end(status)


def _end(status: int) -> NoReturn:
    """As the interpreter ends, but for clearing away what was imported before the fork."""
    import atexit
    import threading

    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    with suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def _limit(limits: Limits) -> None:
    if limits.file_bytes:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # as Python does, which turns it into an error
        resource.setrlimit(resource.RLIMIT_FSIZE, (limits.file_bytes, limits.file_bytes))
    if limits.more_bytes:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + limits.more_bytes
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


class _Watch:
    """Hears of every file that Python opens to write, renames or removes, and of every use of the network."""

    def __init__(self, counter: Path, limits: Limits) -> None:
        self.limits, self.pid, self.n = limits, os.getpid(), 0
        self.counter = os.open(counter, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("socket.connect", "socket.bind", "socket.getaddrinfo"):
            self._network(event, arguments)
        elif event in _CHANGES or (event == "open" and _writes(arguments)):
            self._change(arguments)

    def _change(self, arguments: tuple[Any, ...]) -> None:
        if os.getpid() != self.pid or not _is_out(arguments):
            return
        self.n += 1
        if self.n == self.limits.die_at:
            os.killpg(0, signal.SIGKILL)
        if self.limits.clock_s and self.n == 3:
            _jump(self.limits.clock_s)
        if not self.limits.file_bytes:
            os.write(self.counter, b".")

    def _network(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.getaddrinfo" or arguments[0].family in _NETWORK:
            print(f"the network was asked for: {event} {arguments[1:]}", file=sys.stderr, flush=True)
            os._exit(NO_NETWORK)


def _writes(arguments: tuple[Any, ...]) -> bool:
    mode, flags = arguments[1], arguments[2]
    return any(c in mode for c in "wax+") if isinstance(mode, str) else bool((flags or 0) & _WRITES)


def _is_out(arguments: tuple[Any, ...]) -> bool:
    names = [os.fsdecode(name) for name in arguments[:2] if isinstance(name, str | bytes)]
    return any(f"{os.sep}{name}".find(f"{os.sep}out{os.sep}") >= 0 for name in names)


def _jump(seconds: float) -> None:
    """From here on this process's wall clock is another."""
    true, true_ns = time.time, time.time_ns
    time.time = lambda: true() + seconds
    time.time_ns = lambda: true_ns() + int(seconds * 1e9)
