"""Slides in, batches out: threads open and read the next ones while the network works on the last ones."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple

from ..cohort import SlideRef, SlideTable
from ..core import as_whole, heed, meeting, own_rank, own_world_size
from .jobs import SlideJob, file_version

_SLIDES_OPENED_AHEAD = 2


class _Read(NamedTuple):
    """A part on its way; after a slide's last one the slide is closed."""

    job: SlideJob
    part: int
    rows: Future
    is_last: bool = False


class Source:
    """Iterable of batches, ``image`` and ``pieces``, which say whose rows they are.

    A slide that cannot be opened or read, even in its middle, is marked as failed, and the source goes on with the next
    one. Memory: about ``num_workers + 2`` parts and two batches, whatever the slides' sizes.

    A kind of source says how a slide is opened, into how many parts it falls, how one is read, and how parts become
    batches.

    Args:
        refs: what :func:`~bundle.slides.find_slides` found.
        folder: where each slide's file will be.
        table: what is said of slides.
        made_in: where the files that are read were made from slides before, by slide id; None: ``refs`` are read.
        default_mpp: um/px of slides whose file and table name none.
        batch_size: rows in a batch.
        num_workers: reading threads, at least one.

    Attributes:
        rank, world_size: as torchrun, or an array of jobs, says.
        together: with the other processes of torchrun; None: there are none.
        jobs: in the order of the slides: all, of which processes of torchrun take one after the other, the largest
            first; in an array of jobs, which do not know of one another, every ``world_size``-th.
        own: those that this process has taken; all without torchrun.
        n_taken: how many all processes have taken, as far as this one knows.
        is_wanted: asked of each slide that was opened, before it is read; a pipeline puts its own question here.
        is_free: asked of each slide before it is opened, in a thread: nobody else makes its file, and it is not there.
        unit: what a row of a batch is called.
        others: what else a batch holds for the network, beside ``image``.
    """

    unit = "rows"
    others: tuple[str, ...] = ()

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
    ) -> None:
        table = SlideTable({}) if table is None else table
        self.batch_size = as_whole(batch_size, "batch_size", 1)
        self.num_workers = max(1, as_whole(num_workers, "num_workers"))
        self.n_ahead = self.num_workers + 2
        self.rank = own_rank()
        self.world_size = own_world_size()
        self.together = meeting()
        self.jobs = [
            SlideJob(
                ref,
                table.row(ref.slide_id, ref.path),
                ref.path if made_in is None else made_in / f"{ref.slide_id}.h5",
                folder / f"{ref.slide_id}.h5",
                default_mpp,
            )
            for ref in (refs[self.rank :: self.world_size] if self.together is None else refs)
        ]
        self.own = self.jobs if self.together is None else []
        self.n_taken = len(self.own)
        self._untaken: Iterator[tuple[int, SlideJob]] = iter(())
        self.is_wanted: Callable[[SlideJob, Any], bool] = lambda job, slide: True
        self.is_free: Callable[[SlideJob], bool] = lambda job: True
        self._pool: ThreadPoolExecutor | None = None
        self._stop = Event()
        self._plans: deque[tuple[SlideJob, Future]] = deque()
        self._in_use: dict[SlideJob, Any] = {}

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

    def share_out(self) -> None:
        """Agree with the other processes of torchrun on what there is to take.

        Raises:
            BundleError: another one sees other slides.
        """
        if self.together is not None:
            self.own, self.n_taken = [], 0
            self._untaken = self.together.share_out(self.jobs, lambda job: job.slide_id, _n_bytes)

    @property
    def is_waiting(self) -> bool:
        """There is something to do."""
        return any(job.status == "waiting" for job in self.jobs)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self._stop = Event()
        self._pool = ThreadPoolExecutor(self.num_workers, "read", heed, (self._stop,))
        try:
            yield from self.batches(self._parts())
        finally:
            self.close()

    def close(self) -> None:
        """Stop reading and close every slide."""
        self._stop.set()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None
        for slide in self._in_use.values():
            _close(slide)
        for _, plan in self._plans:
            if not plan.cancelled() and plan.exception() is None:
                _close(plan.result())
        self._in_use.clear()
        self._plans.clear()

    def _parts(self) -> Iterator[tuple[SlideJob, int, Any]]:
        """Parts in order, read ahead by the threads; those of failed slides are left out."""
        waiting = self._waiting()
        reads: deque[_Read] = deque()
        self._open_ahead(waiting, _SLIDES_OPENED_AHEAD)
        while self._plans:
            while reads and (len(reads) >= self.n_ahead or not self._plans[0][1].done()):
                yield from self._arrived(reads.popleft())
            job, plan = self._plans.popleft()
            n_parts = self._take(job, plan)
            self._open_ahead(waiting, 1)
            for part in range(n_parts):
                while len(reads) >= self.n_ahead:
                    yield from self._arrived(reads.popleft())
                if job.status != "waiting":
                    break
                reads.append(_Read(job, part, self._submit(self.read, self._in_use[job], job, part)))
            if reads and reads[-1].job is job:
                reads[-1] = reads[-1]._replace(is_last=True)
            else:
                self._let_go(job)
        while reads:
            yield from self._arrived(reads.popleft())

    def _waiting(self) -> Iterator[SlideJob]:
        yield from [job for job in self.own if job.status == "waiting"]
        for number, job in self._untaken:
            self.own.append(job)
            self.n_taken = number + 1
            if job.status == "waiting":
                yield job
        self.n_taken = len(self.jobs)

    def _open_ahead(self, waiting: Iterator[SlideJob], n: int) -> None:
        self._plans.extend((job, self._submit(self._look_and_open, job)) for job in islice(waiting, n))

    def _look_and_open(self, job: SlideJob) -> Any:
        if not self.is_free(job):
            return None
        job.look()
        return self.open(job)

    def _take(self, job: SlideJob, plan: Future) -> int:
        """A slide comes into use; how many parts are read of it: none where it is not wanted, or not well."""
        try:
            slide = self._in_use[job] = plan.result()
            return self.n_parts(slide) if slide is not None and self.is_wanted(job, slide) else 0
        except Exception as error:  # whatever is wrong with a slide is that slide's problem
            job.fail(error)
            return 0

    def _arrived(self, read: _Read) -> Iterator[tuple[SlideJob, int, Any]]:
        """The part once it has been read, unless its slide has failed."""
        job, rows = read.job, None
        if job.status == "failed":
            read.rows.cancel()
        try:
            rows = read.rows.result()
        except CancelledError:  # its slide has failed before
            pass
        except Exception as error:  # whatever is wrong with a slide is that slide's problem
            job.fail(error)
        if read.is_last:
            self._let_go(job)
        if job.status != "failed":
            job.start()
            yield job, read.part, rows

    def _let_go(self, job: SlideJob) -> None:
        _close(self._in_use.pop(job, None))

    def _submit(self, function: Any, *arguments: Any) -> Future:
        assert self._pool is not None
        return self._pool.submit(function, *arguments)


def _n_bytes(job: SlideJob) -> int:
    return sum(size for size, _ in file_version(job.ref.path))


def _close(slide: Any) -> None:
    if hasattr(slide, "close"):  # token files are opened for each read
        slide.close()
