"""A bar with rate and time left on a terminal; elsewhere (Slurm's logs, `tee`) a line now and then."""

from __future__ import annotations

import os
import re
import sys
from typing import Any, TextIO

from tqdm.auto import tqdm

LINE_EVERY_S = 30.0
_LINE = "{desc}: {n_fmt} of {total_fmt} {unit}s, {rate_fmt}, {elapsed} gone, {remaining} left"


class Progress(tqdm):  # type: ignore[misc]
    """``tqdm``, which writes a line every 30 s where its stream is no terminal, and nothing of what takes less.

    Args:
        arguments: as of ``tqdm``; ``disable`` true shows nothing anywhere.
        options: the same.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        file = options.get("file") or sys.stderr
        is_other = os.environ.get("RANK", "0") != "0"  # of several processes one tells
        options["disable"] = bool(options.get("disable")) or is_other
        if not options["disable"] and not _is_terminal(file):
            options |= {"file": _Lines(file), "mininterval": LINE_EVERY_S, "maxinterval": LINE_EVERY_S}
            options |= {"delay": max(LINE_EVERY_S, options.get("delay", 0)), "leave": False}
            options.setdefault("bar_format", _LINE)
            options["bar_format"] = re.sub(r"\|\{bar\}\|?", " ", options["bar_format"])
        super().__init__(*arguments, **options)


def _is_terminal(file: TextIO) -> bool:
    return bool(getattr(file, "isatty", lambda: False)())


class _Lines:
    """A stream on which nothing is written over: each state of a bar is a line."""

    def __init__(self, file: TextIO) -> None:
        self.file = file

    def write(self, text: str) -> None:
        if said := text.strip("\r\n ").replace("\x1b[A", ""):
            self.file.write(f"{said}\n")

    def flush(self) -> None:
        self.file.flush()
