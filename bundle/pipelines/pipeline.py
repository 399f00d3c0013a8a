"""The one engine for slides in, batches through a network, files out."""

from __future__ import annotations

import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from ignite.engine import Events
from monai.engines import Evaluator
from monai.engines.utils import IterationEvents
from monai.inferers import Inferer, SimpleInferer
from torch import Tensor, nn

from ..cohort import SlideOutcome, twin_key
from ..core import BundleError, NoMemoryError, check_folder, ran_out, tells_no_names_apart
from ..parallel import own_device
from ..storage import NoRoomError
from .jobs import Piece, SlideJob
from .sink import Sink
from .source import Source

logger = logging.getLogger(__name__)


class NoSlideError(BundleError):
    """Not one slide worked."""


class SlideProgress(NamedTuple):
    """How far a run is. ``done`` of ``total`` slides, one in work counting by its regions; ``rows`` so far."""

    done: float
    total: int
    rows: int


class SlidePipeline(Evaluator):
    """Sends the batches of a source through a network and what comes out into a sink, which writes one file a slide.

    What is finished and up to date is kept. A bad slide is named, and the run goes on; a full disk stops it; whatever
    stops it, finished slides stay. At the end ``output_dir`` has ``slides.csv``, a line a slide: with several processes
    of torchrun the first one writes it, when all are done; of an array of jobs the last one, from a table of each.

    Args:
        device: where to compute; ``cuda`` without a number is shared out among this machine's processes.
        val_data_loader: the source.
        network: a batch's ``image`` to rows: a tensor (``pred``), or a dictionary of tensors; or what makes it, once a
            slide needs it.
        sink: makes the files.
        output_dir: where the table of slides goes.
        inferer: runs the network.
        postprocessing: of a batch's output, where it is a dictionary.
        val_handlers: Ignite handlers; :attr:`progress` tells them how far the run is.

    Attributes:
        outcomes: after ``run``, the table's lines of all processes, for one of them; none for the others.

    Raises:
        BundleError: (at ``run``) the sink or the network does not fit, the disk is full, or no slide worked.
    """

    def __init__(
        self,
        device: torch.device | str,
        val_data_loader: Source,
        network: nn.Module | Callable[[], nn.Module],
        sink: Sink[Any],
        output_dir: str | Path,
        *,
        inferer: Inferer | None = None,
        postprocessing: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
        val_handlers: Sequence[Any] | None = None,
    ) -> None:
        device = own_device(device)
        self.source, self.sink, self.output_dir = val_data_loader, sink, Path(output_dir)
        self.network = network.to(device) if isinstance(network, nn.Module) else network
        self.inferer = SimpleInferer() if inferer is None else inferer
        self.source.is_wanted, self.source.is_free = sink.is_wanted, sink.is_free
        self._jobs = self.source.jobs
        self._n_rows = 0
        self.outcomes: list[SlideOutcome] = []
        self._late: _Late | None = None
        super().__init__(device=device, val_data_loader=val_data_loader, postprocessing=postprocessing, decollate=False)
        self.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: engine._take_late())
        self._register_handlers(tuple(val_handlers or ()))

    @property
    def progress(self) -> SlideProgress:
        """How far this process is, or all of torchrun's; slides of which nothing was wanted from the start are left
        out where there is one."""
        jobs, n_taken = self._jobs, len(self._jobs)
        if self.source.together is not None:
            jobs, n_taken = self.source.jobs, self.source.n_taken
        left = (1 - job.n_written / max(1, job.n_regions) for job in self.source.own if job.status == "waiting")
        return SlideProgress(n_taken - sum(left), len(jobs), self._n_rows)

    def run(self, global_epoch: int = 1) -> None:
        """Make every file that is not there yet."""
        _insist_on_own_files(self._jobs)
        self.sink.check(self)
        check_folder(self.output_dir, f"the {self.sink.table.name}", "output_dir")
        if self.source.together is not None:
            for folder in sorted({self.output_dir, *(job.file.parent for job in self._jobs)}):
                self.source.together.insist_on_shared(folder, "results", "output_dir or tokens_dir")
        self.sink.prepare(self)  # refuses where another run is at work, whose table it may be
        self._table_path(self.source.rank).unlink(missing_ok=True)
        given, started_s, is_done = self.network, time.monotonic(), False
        try:
            self.source.share_out()
            self.source.prepare(self.sink)
            self._jobs = [job for job in self.source.jobs if job.status != "skipped"]
            if self.source.is_waiting:
                super().run(global_epoch)
                while self.sink.wait_for_others():
                    self.state.epoch_length = None  # Ignite has counted the batches of the run before
                    super().run(global_epoch)
            is_done = True
        finally:
            self.source.close()
            self.sink.close()
            self._late = None
            if given is not self.network:  # its memory goes to what runs next
                self.network, self.state.batch, self.state.output = given, None, None
            self.outcomes = self._report(time.monotonic() - started_s, is_done)
        self._insist_on_one(self.outcomes)

    def encode(self, image: Tensor, *others: Tensor) -> Any:
        """What the network makes of a batch, on the device; ``others``: what else it takes."""
        network = self.made_network()
        there = [values.to(self.state.device, non_blocking=True) for values in (image, *others)]
        with torch.inference_mode(), self.mode(network):
            return self.inferer(there[0], network, *there[1:])

    def made_network(self) -> nn.Module:
        """The network, made and moved to the device where it was not yet."""
        if not isinstance(self.network, nn.Module):
            self.network = self.network().to(self.state.device)
        return self.network

    def _iteration(self, engine: Any, batchdata: dict[str, Any]) -> Any:
        image = batchdata["image"]
        try:
            engine.state.output = self.encode(image, *(batchdata[name] for name in self.source.others))
        except (RuntimeError, MemoryError) as error:
            lack = ran_out(error)
            if lack is None:
                raise
            if not isinstance(lack, NoMemoryError):  # a thread, a file: other batches would not help
                raise lack from error
            raise BundleError(
                f"a batch of {len(image)} {self.source.unit} does not fit into the memory of {engine.state.device}; "
                "lower batch_size."
            ) from error
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        late = _Late(batchdata["pieces"], engine.state.output)
        self._take_late()  # the batch before, while the device works on this one
        self._late = late
        if late.has_arrived:
            self._take_late()
        return engine.state.output

    def _take_late(self) -> None:
        if self._late is None:
            return
        late, self._late = self._late, None
        rows, first = late.wait(), 0
        for piece in late.pieces:
            part = {name: values[first : first + piece.n] for name, values in rows.items()}
            first += piece.n
            if piece.job.status != "waiting":
                continue
            try:
                self.sink.add(piece, part)
            except NoRoomError:
                raise
            except BundleError as error:
                piece.job.fail(error)
        self.sink.drop_failed()
        self._n_rows += first

    def _table_path(self, rank: int) -> Path:
        world_size = self.source.world_size
        return self.output_dir / ("slides.csv" if world_size == 1 else f"slides_{rank}_of_{world_size}.csv")

    def _report(self, seconds: float, is_done: bool) -> list[SlideOutcome]:
        """Write and show the table; the rows of all processes, or none where another one writes them."""
        table, rank, world_size = self.sink.table, self.source.rank, self.source.world_size
        rows = [self.sink.outcome(job) for job in self.source.own]
        if self.source.together is not None and is_done:
            rows = self._gathered(rows)
            if rank > 0:
                return []
        elif world_size > 1:
            table.write(rows, self._table_path(rank))
            paths = [self._table_path(other) for other in range(world_size)]
            if not all(path.is_file() for path in paths):
                logger.info("process %d of %d is done; others go on", rank, world_size)
                return []
            rows = [row for path in paths for row in table.read(path)]
        table.write(rows, self.output_dir / "slides.csv")
        logger.info("%s", table.text(rows))
        who = "" if world_size == 1 else f"process {rank} of {world_size}: "
        said = (f"{self._n_rows:,} {self.source.unit}", seconds, self._n_rows / max(seconds, 1e-9))
        logger.info("%s%s in %.1f s, %.0f a second", who, *said)
        counts = Counter(row.status for row in rows)
        states = ", ".join(f"{counts[status]} {status}" for status in ("failed", "waiting", "done", "skipped"))
        logger.info("%d slides: %s; %s", len(rows), states, self.output_dir / "slides.csv")
        return rows

    def _gathered(self, rows: Sequence[SlideOutcome]) -> list[SlideOutcome]:
        """Of all slides; what became of those that others have taken is noted in this process's jobs, too."""
        assert self.source.together is not None
        said = self.source.together.gather([asdict(row) for row in rows])
        found = {row["slide"]: SlideOutcome(**row) for theirs in said for row in theirs}
        own = set(self.source.own)
        for job in self.source.jobs:
            if job in own:
                continue
            if job.slide_id in found:
                job.status, job.error = found[job.slide_id].status, found[job.slide_id].error
            else:  # nothing was to be done from the start, not even to take it
                found[job.slide_id] = self.sink.outcome(job)
        return list(found.values())

    def _insist_on_one(self, rows: Sequence[SlideOutcome]) -> None:
        failed = [row for row in rows if row.status == "failed"]
        if failed and len(failed) == len(rows):
            first = failed[0]
            raise NoSlideError(f"none of {len(rows)} slides could be {self.sink.done}; {first.slide}: {first.error}")


def _insist_on_own_files(jobs: Sequence[SlideJob]) -> None:
    """Two slides whose names a file system takes for one would write one file.

    Raises:
        BundleError: there are two such slides in such a folder.
    """
    twins = defaultdict[tuple[Path, str], list[SlideJob]](list)
    for job in jobs:
        twins[job.file.parent, twin_key(job.slide_id)].append(job)
    for first, *others in twins.values():
        if others and tells_no_names_apart(first.file, others[0].file):
            raise BundleError(
                f"slides {first.slide_id} ({first.ref.path}) and {others[0].slide_id} ({others[0].ref.path}) would "
                f"write one file: the file system of {first.file.parent} does not tell their names apart. Rename one "
                "of the slides, or choose another folder for the results."
            )


class _Late:
    """Rows on their way to the CPU while the device goes on working."""

    def __init__(self, pieces: Sequence[Piece], output: Tensor | Mapping[str, Tensor]) -> None:
        self.pieces = pieces
        named = output if isinstance(output, Mapping) else {"pred": output}
        self._rows = {name: values.float() for name, values in named.items()}
        first = next(iter(self._rows.values()))
        self.has_arrived = not first.is_cuda
        if not self.has_arrived:
            self._rows = {name: _sent(values) for name, values in self._rows.items()}
            self._event = torch.cuda.Event()
            self._event.record(torch.cuda.current_stream(first.device))

    def wait(self) -> dict[str, Any]:
        """Rows by name, float32."""
        if not self.has_arrived:
            self._event.synchronize()
        return {name: values.cpu().numpy() for name, values in self._rows.items()}


def _sent(values: Tensor) -> Tensor:
    there = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
    return there.copy_(values, non_blocking=True)
