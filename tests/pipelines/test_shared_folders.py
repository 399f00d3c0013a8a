"""Two runs in one folder: each file is made once, kinds do not mix, and who is refused learns by whom."""

import errno
import os
import socket
import stat
import subprocess
import sys
import threading
from contextlib import nullcontext

import pytest
from cohorts import write_cohort
from inferences import inference
from tiny_slides import READ, MeanColors, write_slide

from bundle.cohort import TOKENIZED, find_slides
from bundle.core import ROOT, BundleError, Claims, claims, sole_run
from bundle.pipelines import PatchStream, SlideChecker, SlidePipeline, TokenSink
from bundle.storage import TokenFile

ME = f"process {os.getpid()} on {socket.gethostname()}"


class Meeting(MeanColors):
    """At a batch, once, something else happens."""

    def __init__(self, at=0, meanwhile=None):
        super().__init__()
        self.at, self.meanwhile, self.n_batches = at, meanwhile, -1  # the first one is a trial

    def forward(self, image):
        self.n_batches += 1
        if self.meanwhile is not None and self.n_batches == self.at:
            self.meanwhile()
        return super().forward(image)


def tokenizer(folder, out, network=None, **options):
    """A run over a folder of slides; ``out`` has a table of its own, tokens lie beside it."""
    stream = PatchStream(find_slides(folder), out.parent / "tokens", **{**READ, "num_workers": 1, **options})
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


def failing(monkeypatch, number, times=1000):
    """The next locks end with this error; afterwards they work."""
    left, real = [number] * times, claims.fcntl.fcntl

    def lock(*arguments):
        if left:
            raise OSError(left.pop(), "what the system says")
        return real(*arguments)

    monkeypatch.setattr("bundle.core.claims.fcntl.fcntl", lock)


@pytest.mark.parametrize("number", [errno.ENOTSUP, errno.EINVAL, errno.ENOSYS, errno.ENOLCK])
def test_where_there_are_no_locks_everybody_may(tmp_path, monkeypatch, number):
    """Claims are granted then; files still take their names whole."""
    failing(monkeypatch, number)
    one, other = (Claims(tmp_path, "tokens", "tokens_dir", {"mpp": mpp}) for mpp in (0.5, 1.0))
    assert one.take("a") and other.take("a")
    one.close(), other.close()
    assert [path.name for path in tmp_path.iterdir()] == [".in_use.lock"]


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EIO])
def test_a_lock_that_fails_once_leaves_those_of_others(tmp_path, monkeypatch, number):
    """The file of whoever is in used to be removed: the next one made a new one, and met nobody."""
    first = Claims(tmp_path, "tokens", "tokens_dir")
    assert first.take("a")
    failing(monkeypatch, number, times=1)
    with pytest.raises(BundleError, match="what the system says") if number == errno.EIO else nullcontext():
        Claims(tmp_path, "tokens", "tokens_dir").close()
    failing(monkeypatch, errno.ENOLCK, times=1)
    assert first.take("b")  # and it has kept what it had
    third = Claims(tmp_path, "tokens", "tokens_dir")
    assert not third.take("a")
    first.close(), third.close()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_gone_is_opened_again(tmp_path, monkeypatch):
    """So NFS says that somebody else has removed it; it was taken for a folder without locks."""
    failing(monkeypatch, errno.ESTALE, times=1)
    first = Claims(tmp_path, "tokens", "tokens_dir")
    failing(monkeypatch, errno.ESTALE, times=1)
    assert first.take("a")
    gone, real = [True], os.fstat
    monkeypatch.setattr(os, "fstat", lambda handle: stale() if gone and gone.pop() else real(handle))
    second = Claims(tmp_path, "tokens", "tokens_dir")
    assert not second.take("a")
    second.close(), first.close()
    assert list(tmp_path.iterdir()) == []


def stale():
    raise OSError(errno.ESTALE, "Stale file handle")


def test_other_users_meet_in_one_file(tmp_path, monkeypatch):
    """Whatever the umask; one that is closed to this user is an error, not a folder without locks."""
    before = os.umask(0o077)
    try:
        claimed = Claims(tmp_path, "tokens", "tokens_dir")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / ".in_use.lock").stat().st_mode) == 0o666

    def closed(*arguments):
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr("bundle.core.claims.os.open", closed)
        with pytest.raises(BundleError, match=r"in_use.lock is another user's .* \(chmod 666 .in_use.lock\)"):
            Claims(tmp_path, "tokens", "tokens_dir")
    claimed.close()


def test_a_system_without_locks_of_bytes_has_one_writer_all_the_same(tmp_path, monkeypatch):
    """Such as macOS, where everybody was let in."""
    monkeypatch.setattr("bundle.core.claims._NOW", None)
    with sole_run(tmp_path, "maps", "output_dir"):
        with pytest.raises(BundleError, match=ME), sole_run(tmp_path, "maps", "output_dir"):
            pass
    with sole_run(tmp_path, "maps", "output_dir"):
        pass


def test_results_have_one_writer(slides, tmp_path):
    """Checking and inferring end before they touch a folder that another run writes to; processes of one run share."""
    with sole_run(tmp_path, "check", "output_dir"), pytest.raises(BundleError, match=f"the check .* by {ME}"):
        SlideChecker(slides, tmp_path, mpp=2.0).run()
    (tmp_path / "embeddings").mkdir()
    write_cohort(tmp_path / "given", (2, 3))
    other = Claims(tmp_path / "embeddings", "embeddings", "output_dir", {"processes": 1})
    assert other.take("process 1")
    inference(tmp_path / "given", tmp_path).run()
    before = (tmp_path / "slides.csv").read_bytes()
    assert other.take("process 0")
    with pytest.raises(BundleError, match=f"the embeddings .* by {ME}: wait"):
        inference(tmp_path / "given", tmp_path).run()
    assert (tmp_path / "slides.csv").read_bytes() == before, "it is the other run's"
