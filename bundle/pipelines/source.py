"""Slides in, batches out: threads open and read the next ones while the network works on the last ones."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from ..cohort import SlideRef, SlideTable
from ..core import as_whole
from .jobs import SlideJob

_SLIDES_OPENED_AHEAD = 2


class _Open:
    """A slide in use; it is closed once its last read has come back."""

    def __init__(self, job: SlideJob, slide: Any, n_parts: int) -> None:
        self.job, self.slide, self.n_parts = job, slide, n_parts
        self.next_part = 0
        self.n_reading = 0

    @property
    def has_more(self) -> bool:
        return self.job.status == "waiting" and self.next_part < self.n_parts


class _Read(NamedTuple):
    opened: _Open
    part: int
    future: Future


class Source:
    """Iterable of batches, ``image`` and ``pieces``, which say whose rows they are.

    A slide that cannot be opened or read, even in its middle, is marked as failed, and the source goes on with the next
    one. Memory: about ``num_workers + 2`` parts and two batches, whatever the slides' sizes.

    A kind of source says how a slide is opened, into how many parts it falls, how one is read, and how parts become
    batches.

    Args:
        refs: what :func:`~bundle.cohort.find_slides` found.
        folder: where each slide's file will be.
        table: what is said of slides.
        made_in: where the files that are read were made from slides before, by slide id; None: ``refs`` are read.
        default_mpp: um/px of slides whose file and table name none.
        batch_size: rows in a batch.
        num_workers: reading threads, at least one.
        rank, world_size: this process takes every ``world_size``-th slide; by default as torchrun says.

    Attributes:
        jobs: of this process, in the order of the slides.
        is_wanted: asked of each slide that was opened, before it is read; a pipeline puts its own question here.
        unit: what a row of a batch is called.
    """

    unit = "rows"

    def __init__(
        self,
        refs: Sequence[SlideRef],
        folder: Path,
        *,
        table: SlideTable | None,
        made_in: Path | None = None,
        default_mpp: float | None = None,
        batch_size: int,
        num_workers: int,
        rank: int | None,
        world_size: int | None,
    ) -> None:
        table = SlideTable({}) if table is None else table
        self.batch_size = as_whole(batch_size, "batch_size", 1)
        self.num_workers = max(1, as_whole(num_workers, "num_workers"))
        self.n_ahead = self.num_workers + 2
        self.rank = int(os.environ.get("RANK", "0")) if rank is None else int(rank)
        self.world_size = int(os.environ.get("WORLD_SIZE", "1")) if world_size is None else int(world_size)
        self.jobs = [
            SlideJob(
                ref,
                table.row(ref.slide_id, ref.path),
                ref.path if made_in is None else made_in / f"{ref.slide_id}.h5",
                folder / f"{ref.slide_id}.h5",
                default_mpp,
            )
            for ref in refs[self.rank :: self.world_size]
        ]
        self.is_wanted: Callable[[SlideJob, Any], bool] = lambda job, slide: True
        self._pool: ThreadPoolExecutor | None = None
        self._plans: deque[tuple[SlideJob, Future]] = deque()
        self._in_use: list[_Open] = []

    def open(self, job: SlideJob) -> Any:
        """Open a slide and say in the job what is in it (in a thread)."""
        raise NotImplementedError

    def n_parts(self, slide: Any) -> int:
        """How many parts an open slide is read in."""
        raise NotImplementedError

    def read(self, slide: Any, job: SlideJob, part: int) -> Any:
        """Rows of a part, which may be none (in a thread)."""
        raise NotImplementedError

    def batches(self, parts: Iterable[tuple[SlideJob, int, Any]]) -> Iterator[dict[str, Any]]:
        """Batches of the rows of parts, in their order."""
        raise NotImplementedError

    def prepare(self, sink: Any) -> None:
        """Before the first slide: make what slides are read from, where it has to be made."""

    @property
    def is_waiting(self) -> bool:
        """There is something to do."""
        return any(job.status == "waiting" for job in self.jobs)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self._pool = ThreadPoolExecutor(self.num_workers, thread_name_prefix="read")
        try:
            yield from self.batches(self._parts())
        finally:
            self.close()

    def close(self) -> None:
        """Stop reading and close every slide."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None
        for opened in self._in_use:
            _close(opened.slide)
        for _, plan in self._plans:
            if not plan.cancelled() and plan.exception() is None:
                _close(plan.result())
        self._in_use.clear()
        self._plans.clear()

    def _parts(self) -> Iterator[tuple[SlideJob, int, Any]]:
        """Parts in order, read ahead by the threads; those of failed slides are left out."""
        waiting = deque(job for job in self.jobs if job.status == "waiting")
        plans = self._plans
        reads: deque[_Read] = deque()
        opened: _Open | None = None
        while waiting or plans or reads or opened is not None:
            while waiting and len(plans) < _SLIDES_OPENED_AHEAD:
                job = waiting.popleft()
                plans.append((job, self._submit(self.open, job)))
            while opened is not None and opened.has_more and len(reads) < self.n_ahead:
                reads.append(self._read_next(opened))
            if opened is not None and not opened.has_more:
                self._let_go(opened)
                opened = None
            if opened is None and plans and len(reads) < self.n_ahead and (plans[0][1].done() or not reads):
                opened = self._open(*plans.popleft())
                continue
            if reads:
                read = reads.popleft()
                rows = self._wait_for(read)
                if rows is not None:
                    read.opened.job.start()
                    yield read.opened.job, read.part, rows

    def _open(self, job: SlideJob, plan: Future) -> _Open | None:
        """The slide, if it is wanted and well."""
        try:
            opened = _Open(job, plan.result(), 0)
        except Exception as error:  # whatever is wrong with a slide is that slide's problem
            job.fail(error)
            return None
        self._in_use.append(opened)
        try:
            opened.n_parts = self.n_parts(opened.slide) if self.is_wanted(job, opened.slide) else 0
        except Exception as error:
            job.fail(error)
        return opened

    def _read_next(self, opened: _Open) -> _Read:
        part = opened.next_part
        opened.next_part += 1
        opened.n_reading += 1
        return _Read(opened, part, self._submit(self.read, opened.slide, opened.job, part))

    def _wait_for(self, read: _Read) -> Any:
        job = read.opened.job
        rows = None
        if job.status == "failed":
            read.future.cancel()
        try:
            rows = read.future.result()
        except CancelledError:  # its slide has failed before
            pass
        except Exception as error:  # whatever is wrong with a slide is that slide's problem
            job.fail(error)
        read.opened.n_reading -= 1
        self._let_go(read.opened)
        return None if job.status == "failed" else rows

    def _let_go(self, opened: _Open) -> None:
        if not opened.has_more and not opened.n_reading and opened in self._in_use:
            self._in_use.remove(opened)
            _close(opened.slide)

    def _submit(self, function: Any, *arguments: Any) -> Future:
        assert self._pool is not None
        return self._pool.submit(function, *arguments)


def _close(slide: Any) -> None:
    if hasattr(slide, "close"):  # token files are opened for each read
        slide.close()
