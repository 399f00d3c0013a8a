"""A slide on its way through a pipeline."""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..cohort import SlideRef, SlideRow
from ..core import BundleError, SlideError, ran_out, readable
from ..slides import SlideReading

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class SlideJob:
    """One slide. ``status``: waiting, done, skipped (its file was there, and up to date) or failed.

    ``source`` is what is read: the slide, or the token file that was made of it; ``file`` what is written.
    ``version`` tells a file that was overwritten since it was opened from one that was not.
    ``coords`` [R, 2], ``mask`` bool [R, P, P] (which patches hold tissue), ``encoded`` (which of them have tokens) and
    ``attributes`` are known once the slide is open, and forgotten when it is finished. ``give_back`` lets other
    processes have the slide.
    """

    ref: SlideRef
    row: SlideRow
    source: Path
    file: Path
    default_mpp: float | None = None
    version: tuple[tuple[int, int], ...] = ()
    status: str = "waiting"
    error: str = ""
    change: str = ""
    reader: str = ""
    mpp: float = math.nan
    started_s: float = 0.0
    seconds: float = 0.0
    coords: NDArray[np.int64] = field(default_factory=lambda: np.empty((0, 2), np.int64))
    mask: NDArray[np.bool_] = field(default_factory=lambda: np.empty((0, 0, 0), bool))
    encoded: NDArray[np.bool_] = field(default_factory=lambda: np.empty((0, 0, 0), bool))
    attributes: dict[str, Any] = field(default_factory=dict)
    n_regions: int = 0
    n_patches: int = 0
    missing_tiles: int = 0
    n_prototypes: int = 0
    n_written: int = 0
    give_back: Callable[[], None] = lambda: None

    @property
    def slide_id(self) -> str:
        """The slide's id."""
        return self.ref.slide_id

    @property
    def reading(self) -> SlideReading:
        """What decides what is read of the slide."""
        return SlideReading(self.ref.path, self.row, self.default_mpp)

    @property
    def is_derived(self) -> bool:
        """What is read was made from the slide by this bundle."""
        return self.source != self.ref.path

    def look(self) -> None:
        """Remember what the file is like; the slide is about to be opened."""
        self.version = file_version(self.source)

    def insist_on_same(self) -> None:
        """The file that was opened is still there, as it was.

        Raises:
            SlideError: it is another one by now; what was read may be of both.
        """
        if self.is_another:
            raise SlideError(
                f"slide {self.slide_id}: {self.source.name} was overwritten, or has gone, while it was read; nothing "
                "of it is kept. Run again when it is complete."
            )

    @property
    def is_another(self) -> bool:
        """The file is not the one that was opened."""
        return bool(self.version) and file_version(self.source) != self.version

    def start(self) -> None:
        """The network gets to the slide; ``seconds`` count from the first time."""
        self.started_s = self.started_s or time.monotonic()

    def skip(self, n_regions: int, mpp: float, **found: Any) -> None:
        """Its file is there; ``found``: what else the file says, by field."""
        self.status, self.n_regions, self.n_written, self.mpp = "skipped", n_regions, n_regions, mpp
        for name, value in found.items():
            setattr(self, name, value)
        self._forget()

    def finish(self, what: str) -> None:
        """The file has its name; ``what`` is in it, in words."""
        self.status = "done"
        self._stop_clock()
        logger.info("slide %s: %d regions, %s, %.1f s", self.slide_id, self.n_regions, what, self.seconds)

    def fail(self, error: BaseException | str) -> None:
        """Give the slide up; the first reason counts."""
        if self.status == "failed":
            return
        plain = error if isinstance(error, BundleError | str) else ran_out(error)
        reason = f"{type(error).__name__}: {error}" if plain is None else str(plain)
        if self.is_another and "overwritten" not in reason:
            reason = f"{self.source.name} was overwritten, or has gone, while it was read. {reason}"
        self.status, self.error = "failed", readable(reason)
        self._stop_clock()
        logger.warning("slide %s failed: %s", self.slide_id, self.error)

    def _stop_clock(self) -> None:
        self.seconds = time.monotonic() - self.started_s if self.started_s else 0.0
        self._forget()

    def _forget(self) -> None:
        """Nothing of a slide's regions stays in memory: a cohort may have 10^5 slides. Others may take it."""
        self.give_back()
        self.coords, self.mask, self.encoded, self.attributes = self.coords[:0], self.mask[:0], self.encoded[:0], {}


def file_version(path: Path) -> tuple[tuple[int, int], ...]:
    """Bytes and time (ns) of a slide's file, and of those in the folder that MIRAX keeps beside it."""
    beside = path.with_suffix("")
    try:
        files = [path, *(sorted(beside.iterdir()) if path.suffix.lower() == ".mrxs" and beside.is_dir() else [])]
        return tuple((found.st_size, found.st_mtime_ns) for found in map(Path.stat, files))
    except OSError:
        return ((0, 0),)


class Piece(NamedTuple):
    """Rows of a batch that lie side by side: ``n`` of those of a slide's ``part``, from the ``first``."""

    job: SlideJob
    part: int
    first: int
    n: int
