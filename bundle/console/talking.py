"""What a run says: little, in lines that are its user's concern, and never nothing for long."""

from __future__ import annotations

import logging
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from ..core.places import ROOT
from ..core.progress import LINE_EVERY_S

SILENCE_S = 30.0  # after which a line says that the run is at work, where there is no terminal
_TOLD = (  # whose ordinary words are shown; everybody's warnings are
    *("bundle.cohort", "bundle.comparing", "bundle.core", "bundle.evaluation", "bundle.explore", "bundle.heads"),
    *("bundle.networks.stated_reading", "bundle.pipelines.importing.on_first_use", "bundle.pipelines.token_claims"),
    *("bundle.pipelines.checking", "bundle.pipelines.exporting", "bundle.pipelines.head_predictions"),
    *("bundle.training.handlers.checkpoint", "bundle.training.handlers.export", "bundle.training.handlers.plan"),
)
_IN_SHORT = "bundle.pipelines.pipeline"  # whose tables have a row a slide
_NOW_AND_THEN = "bundle.training.handlers.history"  # a line an epoch


@contextmanager
def quiet_run(is_verbose: bool) -> Iterator[None]:
    """A run's own words, without those of MONAI and of others; a sign of life where it is silent for long."""
    if is_verbose:
        yield
        return
    root, shown = logging.getLogger(), warnings.showwarning
    with _signs_of_life():
        handler = logging.StreamHandler(sys.stdout)  # the one that is listened to
        handler.setFormatter(_Plain())
        handler.addFilter(_Choice())
        root.addHandler(handler)
        root.setLevel(logging.INFO)
        warnings.showwarning = _show_own
        try:
            _hush_monai()
            yield
        finally:
            warnings.showwarning = shown
            root.removeHandler(handler)


def _hush_monai() -> None:
    import monai.bundle  # noqa: F401  # its loggers set their level when they are made

    for name in list(logging.root.manager.loggerDict):
        if name.split(".")[0] == "monai":
            logging.getLogger(name).setLevel(logging.ERROR)


def _show_own(message: Warning | str, category: type[Warning], filename: str, *place: Any, **more: Any) -> None:
    """Warnings of the bundle as a line; those of other libraries are for those who write programs."""
    if filename.startswith(str(ROOT / "bundle")):
        print(f"warning: {message}", file=sys.stderr, flush=True)


class _Plain(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage().strip("\n")
        if record.name == _IN_SHORT:
            text = text.partition("\n")[0]
        return text if record.levelno < logging.WARNING else f"{record.levelname.lower()}: {text}"


class _Choice(logging.Filter):
    """Warnings of all, ordinary words of some; of what comes each epoch one in a while."""

    def __init__(self) -> None:
        super().__init__()
        self._last_s = -LINE_EVERY_S

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno >= logging.WARNING or record.name.startswith((*_TOLD, _IN_SHORT)):
            return True
        if record.name != _NOW_AND_THEN or time.monotonic() - self._last_s < LINE_EVERY_S:
            return False
        self._last_s = time.monotonic()
        return True


class _Heard:
    """A stream that remembers when something was last written to it."""

    def __init__(self, stream: TextIO) -> None:
        self.stream, self.last_s = stream, time.monotonic()

    def write(self, text: str) -> int:
        self.last_s = time.monotonic()
        return self.stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def _signs_of_life() -> Iterator[None]:
    out, err = _Heard(sys.stdout), _Heard(sys.stderr)
    started, over = time.monotonic(), threading.Event()

    def watch() -> None:
        while not over.wait(1.0):
            if time.monotonic() - max(out.last_s, err.last_s) >= SILENCE_S:
                print(f"... still at work, {duration(time.monotonic() - started)}", file=err, flush=True)

    sys.stdout, sys.stderr = out, err
    thread = threading.Thread(target=watch, name="signs of life", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        sys.stdout, sys.stderr = out.stream, err.stream


def duration(seconds: float) -> str:
    """Hours, minutes and seconds as people write them."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
