"""A bar with rate and time left on a terminal; elsewhere (Slurm's logs, `tee`) a line now and then."""

from __future__ import annotations

import re
import sys
import time
from typing import Any, TextIO

from tqdm.auto import tqdm

from .ranks import own_rank

LINE_EVERY_S = 25.0
_LINE = "{desc}: {n_fmt} of {total_fmt} {unit}s, {rate_fmt}, {elapsed} gone, {remaining} left"


class Progress(tqdm):
    """``tqdm``, which writes a line every 25 s where its stream is no terminal, and nothing of what takes less.

    Args:
        arguments: as of ``tqdm``; ``disable`` true shows nothing anywhere.
        options: the same.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        file = options.get("file") or sys.stderr
        options["disable"] = bool(options.get("disable")) or own_rank() > 0  # of several processes one tells
        if not options["disable"] and not _is_terminal(file):
            options |= {"file": _Lines(file), "mininterval": 1.0, "leave": False}
            options.setdefault("bar_format", _LINE)
            options["bar_format"] = re.sub(r"\|\{bar\}\|?", " ", options["bar_format"])
        super().__init__(*arguments, **options)


def _is_terminal(file: TextIO) -> bool:
    return bool(getattr(file, "isatty", lambda: False)())


class _Lines:
    """A stream on which nothing is written over: now and then the state of a bar, as a line."""

    def __init__(self, file: TextIO) -> None:
        self.file, self._last_s = file, time.monotonic()

    def write(self, text: str) -> None:
        said = text.replace("\x1b[A", "").strip("\r\n ")
        if said and time.monotonic() - self._last_s >= LINE_EVERY_S:
            self._last_s = time.monotonic()
            self.file.write(f"{said}\n")

    def flush(self) -> None:
        self.file.flush()
