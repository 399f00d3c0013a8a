"""Two runs in one folder: each file is made once, kinds do not mix, and who is refused learns by whom."""

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from cohorts import write_cohort
from inferences import inference
from tiny_slides import PATCH, write_slide
from torch import nn

from bundle.cohort import TOKENIZED, find_slides
from bundle.core import BundleError, Claims, sole_run
from bundle.pipelines import PatchStream, SlideChecker, SlidePipeline, TokenSink
from bundle.storage import TokenFile

ROOT = Path(__file__).parents[2]
READ = {"mpp": 2.0, "patch_size": PATCH, "region_patches": 4, "min_tissue_patches": 2, "num_workers": 1}
ME = f"process {os.getpid()} on {socket.gethostname()}"


class Meeting(nn.Module):
    """Mean colors; at a batch, once, something else happens."""

    name, sha256 = "mean colors", "00"

    def __init__(self, at=0, meanwhile=None):
        super().__init__()
        self.at, self.meanwhile, self.n_batches = at, meanwhile, -1  # the first one is a trial

    def forward(self, image):
        self.n_batches += 1
        if self.meanwhile is not None and self.n_batches == self.at:
            self.meanwhile()
        return nn.functional.adaptive_avg_pool2d(image.float() / 255, 2).flatten(1)


def tokenizer(folder, out, network=None, **options):
    """A run over a folder of slides; ``out`` has a table of its own, tokens lie beside it."""
    stream = PatchStream(find_slides(folder), out.parent / "tokens", **{**READ, **options})
    return SlidePipeline("cpu", stream, network or Meeting(), TokenSink(), out)


@pytest.fixture(scope="module")
def slides(tmp_path_factory):
    """Five small slides."""
    folder = tmp_path_factory.mktemp("slides")
    for seed, name in enumerate("abcde"):
        write_slide(folder / f"{name}.tif", 100, seed)
    return folder


def statuses(folder):
    return "".join(row.status[0] for row in TOKENIZED.read(folder / "slides.csv"))


def test_two_runs_share_a_folder(slides, tmp_path):
    """The second, begun within the first one's first slide, makes what is left, and waits for the slides in work."""
    second = tokenizer(slides, tmp_path / "second")
    thread = threading.Thread(target=second.run)
    started = threading.Event()
    second.add_event_handler("ITERATION_COMPLETED", started.set)
    first = tokenizer(slides, tmp_path / "first", Meeting(1, lambda: thread.start() or started.wait(20)))
    first.source.n_ahead = 1
    first.run()
    thread.join(20)
    assert not thread.is_alive()
    one, other = statuses(tmp_path / "first"), statuses(tmp_path / "second")
    assert sorted({pair for pair in zip(one, other, strict=True)}) == [("d", "s"), ("s", "d")], (one, other)
    files = sorted(path.name for path in (tmp_path / "tokens").iterdir())
    assert files == [f"{name}.h5" for name in "abcde"]
    assert all(TokenFile(tmp_path / "tokens" / name).verify() is None for name in files)


def test_a_slide_that_the_other_run_lost_is_made_here(slides, tmp_path):
    """What another process had begun and did not finish is made once it has let go."""
    (tmp_path / "tokens").mkdir()
    other = Claims(tmp_path / "tokens", "folder of tokens", "tokens_dir")
    assert other.take("b")
    letting_go = Meeting(3, other.close)
    tokenizer(slides, tmp_path / "run", letting_go).run()
    assert statuses(tmp_path / "run") == "ddddd" and letting_go.n_batches == 5


@pytest.mark.parametrize(("change", "said"), [({"mpp": 4.0}, "mpp 2.0, this run would use 4.0"), ({}, "encoder 00, ")])
def test_kinds_do_not_mix_in_an_empty_folder(slides, tmp_path, change, said):
    """Both used to begin before there was a file to compare with."""

    def meet():
        encoder = Meeting()
        encoder.sha256 = "00" if change else "11"
        with pytest.raises(BundleError, match=f"written by {ME} with {said}.*another tokens_dir"):
            tokenizer(slides, tmp_path / "second", encoder, **change).run()
        met.append(True)

    met = []
    tokenizer(slides, tmp_path / "first", Meeting(1, meet)).run()
    assert met and statuses(tmp_path / "first") == "ddddd"


HOLD = """
import sys
from pathlib import Path
from bundle.core import sole_run
with sole_run(Path(sys.argv[1]), "maps", "output_dir"):
    print("in", flush=True)
    sys.stdin.read()
"""


def test_a_second_run_is_refused_until_the_first_is_gone(tmp_path):
    """With the first one's process and host, 20 of 20; a kill gives the folder back, and no file of it stays."""
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout.readline() == "in\n"
        for _ in range(20):
            said = f"the maps {tmp_path} is being written by process {first.pid} on {socket.gethostname()}: wait"
            with pytest.raises(BundleError, match=said), sole_run(tmp_path, "maps", "output_dir"):
                pass
        first.kill()
    with sole_run(tmp_path, "maps", "output_dir"):
        with pytest.raises(BundleError, match=ME), sole_run(tmp_path, "maps", "output_dir"):
            pass
    assert list(tmp_path.iterdir()) == []
    (tmp_path / ".in_use.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match="is a link"), sole_run(tmp_path, "maps", "output_dir"):
        pass


def test_where_there_are_no_locks_everybody_may(tmp_path, monkeypatch):
    """Claims are granted then, and nothing stays behind; files still take their names whole."""

    def none(*arguments):
        raise OSError(37, "No locks available")

    monkeypatch.setattr("bundle.core.claims.fcntl.fcntl", none)
    one, other = (Claims(tmp_path, "tokens", "tokens_dir", {"mpp": mpp}) for mpp in (0.5, 1.0))
    assert one.take("a") and other.take("a")
    one.close(), other.close()
    assert list(tmp_path.iterdir()) == []


def test_results_have_one_writer(slides, tmp_path):
    """Checking and inferring end before they touch a folder that another run writes to; processes of one run share."""
    with sole_run(tmp_path, "check", "output_dir"), pytest.raises(BundleError, match=f"the check .* by {ME}"):
        SlideChecker(slides, tmp_path, mpp=2.0).run()
    (tmp_path / "embeddings").mkdir()
    write_cohort(tmp_path / "given", (2, 3))
    other = Claims(tmp_path / "embeddings", "embeddings", "output_dir", {"processes": 1})
    assert other.take("process 1")
    inference(tmp_path / "given", tmp_path).run()
    (tmp_path / "slides.csv").unlink()
    assert other.take("process 0")
    with pytest.raises(BundleError, match=f"the embeddings .* by {ME}: wait"):
        inference(tmp_path / "given", tmp_path).run()
    assert not (tmp_path / "slides.csv").exists()
