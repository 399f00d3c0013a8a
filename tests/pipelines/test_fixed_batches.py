"""A token depends on its slide alone: not on where a run starts, its company, or how many processes there are."""

import shutil

import numpy as np
import pytest
import torch
from met import together
from tiny_slides import READ, MeanColors

from bundle.cohort import TOKENIZED, find_slides
from bundle.core import SettingError
from bundle.pipelines import PatchStream, SlidePipeline, TokenSink
from bundle.pipelines.jobs import Piece
from bundle.storage import TokenFile


class Companionable(MeanColors):
    """Its tokens tell exactly which patches rode in the batch, and where; after ``n_batches`` it is stopped."""

    name, sha256 = "companionable", "00"

    def __init__(self, n_batches=10_000):
        super().__init__()
        self.n_batches = n_batches

    def forward(self, image):
        self.n_batches -= 1
        if self.n_batches < 0:
            raise KeyboardInterrupt
        tokens = super().forward(image)
        company = (tokens * torch.arange(1.0, 1 + len(tokens))[:, None]).sum(0)
        return tokens + company / 1024 + len(tokens)


def tokenizer(folder, out, network=None, **options):
    """An engine over a folder of slides, or one."""
    stream = PatchStream(find_slides(folder), out / "tokens", **READ, batch_size=24, **options)
    return SlidePipeline("cpu", stream, network or Companionable(), TokenSink("float32"), out)


def made(folder):
    """Tokens of each file."""
    return {path.name: TokenFile(path).read() for path in sorted((folder / "tokens").glob("*.h5"))}


def same(one, other):
    """Whether they are, to the bit; there must be the same files."""
    assert one.keys() == other.keys()
    return all(np.array_equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def unbroken(slides, tmp_path_factory):
    """Token files of a run that nobody stopped."""
    folder = tmp_path_factory.mktemp("unbroken")
    tokenizer(slides, folder).run()
    return made(folder)


def test_a_stop_at_any_batch_changes_nothing(slides, tmp_path, unbroken):
    """A run that is stopped at its k-th batch, for each k, and run again makes the same tokens to the bit."""
    n_stops = 0
    for k in range(2, 100):  # the first batch tries the encoder
        folder = tmp_path / str(k)
        try:
            tokenizer(slides, folder, Companionable(k)).run()
        except KeyboardInterrupt:
            n_stops += 1
            tokenizer(slides, folder).run()
            assert same(made(folder), unbroken), k
        else:
            break
    assert n_stops >= 5


def test_processes_and_company_change_nothing(slides, tmp_path, unbroken, monkeypatch):
    """Two processes, or a run over one slide of the folder, make the same tokens; so do other numbers of threads."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in "10":
        monkeypatch.setenv("RANK", rank)
        tokenizer(slides, tmp_path, num_workers=3).run()
    monkeypatch.undo()
    assert same(made(tmp_path), unbroken)
    tokenizer(slides / "c.tif", tmp_path / "one").run()
    assert same(made(tmp_path / "one"), {"c.h5": unbroken["c.h5"]})


def test_processes_of_torchrun_take_slides_from_one_queue(slides, tmp_path, unbroken):
    """Whoever makes a slide, it is the same to the bit; the first process has a table of all."""
    folder = shutil.copytree(slides, tmp_path / "slides")
    (folder / "d.tif").write_bytes(b"no slide")

    def run(met):
        engine = tokenizer(folder, tmp_path)
        engine.source.own, engine.source.together = [], met
        engine.source.rank, engine.source.world_size = met.rank, met.size
        engine.run()
        return engine

    for expected in ("done", "skipped"):
        first, second = together(2, run)
        assert same(made(tmp_path), unbroken)
        assert second.outcomes == [] and len(first.outcomes) == 4
        told = {row.slide: row.status for row in TOKENIZED.read(tmp_path / "slides.csv")}
        assert told == {**dict.fromkeys("abc", expected), "d": "failed"}
        assert [job.status for job in second.source.jobs] == [job.status for job in first.source.jobs]
        assert first.progress.done == first.progress.total == 4
        assert sorted(job.slide_id for each in (first, second) for job in each.source.own) == [*"abcd"]
    assert {path.name for path in tmp_path.iterdir()} == {"slides", "tokens", "slides.csv"}


def test_batches_of_a_region_do_not_depend_on_the_slide(slides, tmp_path):
    """Within a region, a token is that of a run over this region's patches alone; mixed in a folder it is not."""
    tokenizer(slides, tmp_path, batch_within="region").run()
    encoder = Companionable()
    source = tokenizer(slides, tmp_path / "x", batch_within="region").source
    for batch in source:
        (job, region, first, n), *others = batch["pieces"]
        assert not others
        stored = TokenFile(tmp_path / "tokens" / job.file.name).read()[region][job.encoded[region]]
        np.testing.assert_array_equal(stored[first : first + n], encoder(batch["image"]))
    tokenizer(slides, tmp_path / "mixed", batch_within="folder").run()
    assert not same(made(tmp_path / "mixed"), made(tmp_path))


def test_a_slides_last_batch_waits_for_no_other_slide(slides, tmp_path):
    """It once waited for the next slide's tissue to be found."""
    source = tokenizer(slides, tmp_path).source
    job, patches = source.jobs[0], np.zeros((4, 16, 16, 3), np.uint8)
    job.n_regions = 2

    def parts():
        yield from ((job, 0, patches[:3]), (job, 1, patches[:2]))
        raise AssertionError("the next slide was waited for")

    assert next(source.batches(parts()))["pieces"] == [Piece(job, 0, 0, 3), Piece(job, 1, 0, 2)]


def test_no_batch_is_empty(slides, tmp_path):
    """A region without patches rides along with the next ones: no network is asked for nothing."""
    source = tokenizer(slides, tmp_path, batch_within="region").source
    job, patches = source.jobs[0], np.zeros((4, 16, 16, 3), np.uint8)
    batches = list(source.batches([(job, 0, patches[:3]), (job, 1, patches[:0]), (job, 2, patches[:2])]))
    assert [batch["pieces"] for batch in batches] == [[Piece(job, 0, 0, 3)], [Piece(job, 1, 0, 0), Piece(job, 2, 0, 2)]]
    with pytest.raises(SettingError, match="batch_within is 'patient'; choose one of region, slide, folder"):
        tokenizer(slides, tmp_path, batch_within="patient")
