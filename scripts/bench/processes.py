"""Commands of the bundle as a user gives them, in processes of their own: seconds, peak memory, a kill in between."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bundle.core import ROOT, BundleError, write_text

from ..golden_results.steps import option_words

_PER_MIB = 1 << (20 if sys.platform == "darwin" else 10)  # of ru_maxrss, which has bytes there and KiB elsewhere


def mib_of(process: int | str, name: str) -> float:
    """MiB that Linux says of a process, by number or "self": ``VmRSS`` and the like; 0 of one that has ended."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    values = dict(line.split(":", 1) for line in lines)
    return int(values.get(name, "0").split()[0]) / 1024


class Usage(NamedTuple):
    """What a command took: seconds from start to end, largest resident memory of one of its processes in MiB."""

    seconds: float
    peak_mib: float


class CommandError(Exception):
    """A command failed."""


def bundle_command(run_id: str, configs: Sequence[str], **ids: Any) -> list[str]:
    """``python -m monai.bundle run``, to be started in the repository's root.

    Args:
        run_id: what is run, such as "importing".
        configs: config files, mixins last.
        ids: given on the command line.
    """
    files = configs[0] if len(configs) == 1 else repr(list(configs))
    return [sys.executable, "-m", "monai.bundle", "run", run_id, *option_words({"config_file": files, **ids})]


def run_measured(
    words: Sequence[str], log: Path, watch: Callable[[int], bool] | None = None, every_s: float = 0.1
) -> Usage:
    """Run a command in the repository's root, wait for its end, and say what it took.

    Args:
        words: the command.
        log: where its output is added.
        watch: called with the process's id every so often; True: the process is killed.
        every_s: seconds between two looks.

    Raises:
        CommandError: it failed before it was killed; the log is named.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    is_killed = False
    with log.open("ab") as output:
        start = time.perf_counter()
        process = subprocess.Popen(words, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
        try:
            while True:
                ended, status, found = os.wait4(process.pid, os.WNOHANG)
                if ended:
                    break
                if watch is not None and not is_killed and watch(process.pid):
                    process.kill()
                    is_killed = True
                time.sleep(every_s)
        except BaseException:
            process.kill()
            process.wait()
            raise
        seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode and not is_killed:
        raise CommandError(f"{' '.join(words)} failed ({process.returncode}); its words are in {log}.")
    return Usage(seconds, found.ru_maxrss / _PER_MIB)


class Record:
    """Commands that have been run, by name, and what each took: a second call goes on where the first one stopped."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.done: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}

    def run(self, name: str, words: Sequence[str], log: Path, watch: Callable[[int], bool] | None = None) -> None:
        """Run a command that has not been run, see :func:`run_measured`.

        Raises:
            BundleError: it was run with other settings.
        """
        settings = hashlib.sha256(repr(words[1:]).encode()).hexdigest()[:16]  # but for the Python that runs it
        if name not in self.done:
            print(f"{time.strftime('%H:%M:%S')} {name}", flush=True)
            self.done[name] = {**run_measured(words, log, watch)._asdict(), "settings": settings}
            write_text(self.path, json.dumps(self.done, indent=1) + "\n")
        elif self.done[name].get("settings", settings) != settings:
            raise BundleError(
                f"{self.path} has {name!r} with other settings: restore them, give another --output, or take its entry "
                "out of the file to run it again."
            )
