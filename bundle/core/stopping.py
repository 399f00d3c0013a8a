"""Threads that work for somebody who has stopped waiting end soon, and with them the process."""

from __future__ import annotations

import threading

from .errors import BundleError

_own = threading.local()


class StoppedError(BundleError):
    """Nobody waits for this any more."""


def heed(stop: threading.Event) -> None:
    """From here on this thread ends its work where ``stop`` is set; ``initializer`` of a pool of threads."""
    _own.stop = stop


def insist_on_wanted() -> None:
    """To be called where work can be left: between the pieces of a slide.

    Raises:
        StoppedError: what this thread heeds was set.
    """
    stop: threading.Event | None = getattr(_own, "stop", None)
    if stop is not None and stop.is_set():
        raise StoppedError("stopped before it was done.")
