"""The parts of the pipeline by themselves: a source of one's own, and one failure policy for all."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from bundle.cohort import TOKENIZED, SlideOutcome, SlideRef
from bundle.core import BundleError
from bundle.pipelines import PatchStream, Sink, SlidePipeline, Source, slide_source
from bundle.pipelines.jobs import Piece
from bundle.storage import NoRoomError


class Numbers(Source):
    """A source as others may write one: a slide is a text file of numbers, a part is a line."""

    unit = "numbers"

    def __init__(self, folder, **options):
        refs = [SlideRef(path.stem, path, path.name) for path in sorted(folder.glob("*.txt"))]
        given = {"table": None, "batch_size": 3, "num_workers": 2, **options}
        super().__init__(refs, folder / "out", **given)

    def open(self, job):
        lines = job.source.read_text().splitlines()
        job.n_regions = len(lines)
        return lines

    def n_parts(self, slide):
        return len(slide)

    def read(self, slide, job, part):
        return torch.tensor([float(word) for word in slide[part].split()])

    def batches(self, parts):
        for job, part, rows in parts:
            yield {"image": rows, "pieces": [Piece(job, part, 0, len(rows))]}


class Sums(Sink):
    """Writes the sum of a slide's rows; `full` names the slide at which the disk is full."""

    table, done = TOKENIZED, "summed"

    def __init__(self, full="", bad=""):
        super().__init__()
        self.full, self.bad, self.sums, self.dropped = full, bad, {}, []

    def prepare(self, pipeline):
        for job in pipeline.source.jobs:
            if job.slide_id in self.sums:
                job.skip(0, 1.0)

    def add(self, piece, rows):
        job = piece.job
        found = self._begun.setdefault(job, [])
        if job.slide_id == self.full:
            raise NoRoomError("no room")
        if job.slide_id == self.bad:
            raise BundleError("its sum is odd")
        found.append(rows["pred"].sum())
        job.n_written += 1
        if job.n_written == job.n_regions:
            self.sums[job.slide_id] = float(np.sum(self._begun.pop(job)))
            job.finish("a sum")

    def drop(self, begun):
        self.dropped.append(begun)

    def outcome(self, job):
        return SlideOutcome(job.slide_id, job.status, error=job.error)


@pytest.fixture
def folder(tmp_path):
    for name, text in (("a", "1 2\n3"), ("b", "4\nx\n5"), ("c", "6\n7 8"), ("d", "9")):
        (tmp_path / f"{name}.txt").write_text(text)
    return tmp_path


def run(folder, sink, **options):
    """Statuses in the table that a run leaves, and its pipeline."""
    pipeline = SlidePipeline("cpu", Numbers(folder, **options), nn.Identity(), sink, folder)
    try:
        pipeline.run()
    finally:
        statuses = {row.slide: row.status for row in TOKENIZED.read(folder / "slides.csv")}
    return statuses, pipeline


def test_a_source_of_one_s_own_goes_through(folder):
    """A line that is no number fails its slide only; a second run does what is left."""
    sink = Sums()
    statuses, pipeline = run(folder, sink)
    assert statuses == {"a": "done", "b": "failed", "c": "done", "d": "done"}
    assert sink.sums == {"a": 6, "c": 21, "d": 9} and pipeline.progress.done == 4 and pipeline.progress.rows >= 7
    (folder / "b.txt").write_text("4\n5")
    statuses, pipeline = run(folder, sink)
    assert statuses == {"a": "skipped", "b": "done", "c": "skipped", "d": "skipped"}
    assert sink.sums["b"] == 9 and pipeline.progress == (1, 1, 2)


def test_a_bad_slide_goes_and_a_full_disk_stops(folder):
    """What a sink cannot finish fails that slide, and its part is dropped; no room ends the run, what is done stays."""
    (folder / "b.txt").write_text("4\n5")
    sink = Sums(bad="b")
    assert run(folder, sink)[0] == {"a": "done", "b": "failed", "c": "done", "d": "done"} and len(sink.dropped) == 1
    sink = Sums(full="c")
    with pytest.raises(NoRoomError):
        run(folder, sink)
    assert sink.sums == {"a": 6, "b": 9} and len(sink.dropped) == 1
    rows = {row.slide: row.status for row in TOKENIZED.read(folder / "slides.csv")}
    assert rows == {"a": "done", "b": "done", "c": "waiting", "d": "waiting"}


def test_nothing_of_a_slide_stays_in_memory(folder):
    """Coordinates and masks of 10^5 slides would be gigabytes: a job forgets them when its slide is finished."""
    jobs = PatchStream([SlideRef("a", folder / "a.txt", "a.txt")], folder).jobs
    for ends in (lambda job: job.finish("x"), lambda job: job.fail("x"), lambda job: job.skip(3, 0.5)):
        jobs[0].coords, jobs[0].mask = np.zeros((3, 2), int), np.ones((3, 4, 4), bool)
        jobs[0].encoded, jobs[0].attributes = jobs[0].mask, {"mpp": 0.5}
        jobs[0].status = "waiting"
        ends(jobs[0])
        assert not (len(jobs[0].coords) or len(jobs[0].mask) or len(jobs[0].encoded) or jobs[0].attributes)


def test_a_network_that_is_made_on_demand_goes_again(folder):
    """The patch encoder once stayed on the GPU while regions were embedded: what a run makes, it lets go of."""
    made = []

    def make():
        made.append(nn.Identity())
        return made[-1]

    pipeline = SlidePipeline("cpu", Numbers(folder), make, Sums(), folder)
    pipeline.run()
    assert len(made) == 1 and pipeline.network is make and pipeline.state.output is None


def test_a_slide_that_fails_after_it_was_planned_is_closed(folder, monkeypatch):
    """Where a share fails while the slide's stamp is taken, its handle once stayed open."""
    closed = []
    monkeypatch.setattr(slide_source, "SlideRegions", lambda *_: SimpleNamespace(close=lambda: closed.append(1)))
    source = PatchStream([SlideRef("a", folder / "a.txt", "a.txt")], folder)
    slide = SimpleNamespace(reader="tifffile", mpp=0.5)
    source.how = SimpleNamespace(open=lambda *_: slide)
    with pytest.raises(AttributeError, match="grid"):
        source.open(source.jobs[0])
    assert closed == [1]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), r"a batch of \d numbers does not fit .* lower batch_size"),
        (MemoryError(), r"a batch of \d numbers does not fit .* lower batch_size"),
        (RuntimeError("can't start new thread"), "no further thread could be started"),
        (RuntimeError("Too many open files"), "too many files are open at once"),
        (RuntimeError("unable to write to file </torch_1>: No space left on device"), "/dev/shm, by which .* ran out"),
        (RuntimeError("shapes differ"), "^shapes differ"),
    ],
)
def test_what_ran_out_is_said_of_a_batch(folder, error, said):
    """Smaller batches are advised where memory ran out, and were wherever anything had."""

    class Lacking(nn.Module):
        def forward(self, image):
            raise error

    pipeline = SlidePipeline("cpu", Numbers(folder), Lacking(), Sums(), folder / "out")
    with pytest.raises((BundleError, RuntimeError), match=said):
        pipeline.run()
