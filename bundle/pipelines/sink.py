"""What becomes of the rows that a network made: collected by slide, written when a slide is complete."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..cohort import OutcomeTable, SlideOutcome
from .jobs import Piece, SlideJob

Rows = Mapping[str, NDArray[np.float32]]
Begun = TypeVar("Begun")


class Sink(Generic[Begun]):
    """Takes rows and makes files, one a slide; a file has its name when it is complete.

    Attributes:
        table: of what became of slides.
        done: what a slide is then, for messages.
    """

    table: OutcomeTable
    done: str

    def __init__(self) -> None:
        self._begun: dict[SlideJob, Begun] = {}

    def check(self, pipeline: Any) -> None:
        """Before anything is touched.

        Raises:
            BundleError: the run cannot be made.
        """

    def prepare(self, pipeline: Any) -> None:
        """Before the first slide: folders can be written, what is there is known.

        Raises:
            BundleError: the run cannot be made.
        """
        raise NotImplementedError

    def is_wanted(self, job: SlideJob, slide: Any) -> bool:
        """Whether a slide that was opened has to go through the network.

        Raises:
            BundleError: it cannot.
        """
        return True

    def is_free(self, job: SlideJob) -> bool:
        """Whether this process should make the slide's file; asked before the slide is opened, in a thread.

        Raises:
            BundleError: what another process has made of it meanwhile does not fit.
        """
        return True

    def wait_for_others(self) -> bool:
        """Until a slide that was left to another process is free; False where there is none."""
        return False

    def add(self, piece: Piece, rows: Rows) -> None:
        """Take rows of a slide.

        Raises:
            NoRoomError: the disk is full, and the run has to stop.
            BundleError: this slide cannot be finished.
        """
        raise NotImplementedError

    def outcome(self, job: SlideJob) -> SlideOutcome:
        """The slide's line in the table."""
        raise NotImplementedError

    def drop(self, begun: Begun) -> None:
        """Remove what was written of a slide that will not be complete."""

    def drop_failed(self) -> None:
        """Nothing of slides that have failed stays."""
        for job in [job for job in self._begun if job.status == "failed"]:
            self.drop(self._begun.pop(job))

    def close(self) -> None:
        """Remove what is unfinished."""
        for begun in self._begun.values():
            self.drop(begun)
        self._begun.clear()
