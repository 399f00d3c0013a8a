"""Saved files are complete or absent, whatever happens."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from empty_files import touch

from bundle.core import ROOT, BundleError, Replacement, save_atomically, write_text
from bundle.core.atomic import remove_stale_parts, scratch_folder
from bundle.networks import read_weights


def test_roundtrip_and_folders(tmp_path):
    """What was saved is read; folders are made; no temporary file stays."""
    save_atomically({"w": torch.arange(4), "epoch": 3}, tmp_path / "a" / "b" / "last.pt")
    assert read_weights(tmp_path / "a" / "b" / "last.pt")["epoch"] == 3
    assert [p.name for p in (tmp_path / "a" / "b").iterdir()] == ["last.pt"]


@pytest.mark.parametrize("flush", [False, True])
def test_the_old_one_stays_until_the_new_one_is_complete(tmp_path, flush):
    """A file or a folder: an error in the middle leaves what was there, and nothing else; then it is replaced."""
    file, folder = tmp_path / "file", tmp_path / "folder"
    write_text(file, "old")
    touch(folder, "old")
    for is_complete in (False, True):
        try:
            with Replacement(file, flush=flush) as part_of_file, Replacement(folder) as part_of_folder:
                part_of_file.write_text("new")
                part_of_folder.mkdir()
                (part_of_folder / "new").touch()
                assert file.read_text() == "old" and (folder / "old").exists()
                if not is_complete:
                    raise KeyboardInterrupt
        except KeyboardInterrupt:
            assert file.read_text() == "old" and (folder / "old").exists()
        assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
    assert file.read_text() == "new" and [path.name for path in folder.iterdir()] == ["new"]


def test_a_file_never_takes_the_place_of_a_folder(tmp_path):
    """A wrong path is an error, not a folder less."""
    (tmp_path / "folder" / "work").mkdir(parents=True)
    with pytest.raises(OSError):
        write_text(tmp_path / "folder", "text")
    assert (tmp_path / "folder" / "work").is_dir() and len(list(tmp_path.iterdir())) == 1


def test_full_disk_leaves_the_old_file(tmp_path):
    """When the system refuses to write more, the error is plain, the file of before intact, the rest gone."""
    pytest.importorskip("resource")
    path = tmp_path / "last.pt"
    save_atomically({"w": torch.zeros(3)}, path)
    code = (
        "import resource, signal, sys, torch\n"
        "from bundle.core import BundleError, save_atomically\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try:\n    save_atomically({'w': torch.zeros(1_000_000)}, sys.argv[1])\n"
        "except BundleError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "last.pt cannot be written" in done.stdout and "before is intact" in done.stdout, done.stderr
    assert read_weights(path)["w"].tolist() == [0, 0, 0]
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]


def test_a_folder_that_cannot_be_made(tmp_path):
    """A path through a file is an error that names it."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(BundleError, match="last.pt cannot be written"):
        save_atomically({}, tmp_path / "file" / "last.pt")


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_kill_leaves_the_old_file(tmp_path):
    """A process killed while it writes leaves the file of before; the next save removes its leftovers."""
    path = tmp_path / "last.pt"
    save_atomically({"w": torch.ones(3)}, path)
    code = (
        "import os, sys, time\nfrom bundle.core import save_atomically\n"
        "os.fsync = lambda handle: time.sleep(600)\nsave_atomically({}, sys.argv[1])\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(path)], cwd=ROOT)
    for _ in range(1200):
        if len(list(tmp_path.iterdir())) > 1 or process.poll() is not None:
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert read_weights(path)["w"].tolist() == [1, 1, 1]
    assert any(p.name.endswith(".tmp") for p in tmp_path.iterdir())
    other = tmp_path / f".last.pt.{socket.gethostname().replace('.', '_')}.{os.getppid()}.tmp"
    other.touch()
    save_atomically({"w": torch.zeros(3)}, path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [other.name, "last.pt"], "those of living processes stay"


def test_a_folder_that_cannot_take_its_name_leaves_the_old_one(tmp_path, monkeypatch):
    """The old folder was once removed first, and the new one after it where it could not be renamed."""
    touch(tmp_path, "maps/old")
    replace, refused = os.replace, []

    def refusing(source, target):
        if Path(source).suffix == ".tmp" and not refused:
            refused.append(source)
            raise PermissionError("no")
        replace(source, target)

    monkeypatch.setattr(os, "replace", refusing)
    with pytest.raises(PermissionError), Replacement(tmp_path / "maps") as part:
        part.mkdir()
    assert refused and [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")] == ["maps", "maps/old"]


DIES = """
import os, signal, sys
from pathlib import Path
from bundle.core import Replacement, scratch_folder
folder = Path(sys.argv[1])
with scratch_folder(folder, "packaging") as scratch:
    (scratch / "half").touch()
    replace = os.replace
    def stopping(source, target):
        replace(source, target)
        os.kill(os.getpid(), signal.SIGKILL)
    os.replace = stopping
    with Replacement(folder / "maps") as part:
        part.mkdir()
"""


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_what_a_kill_left_goes_at_the_next_start(tmp_path):
    """Scratch folders stayed for ever, and a folder that had stepped aside for its successor was lost with it."""
    touch(tmp_path, "maps/old")
    done = subprocess.run([sys.executable, "-c", DIES, str(tmp_path)], cwd=ROOT, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(list(tmp_path.iterdir())) == 3 and not (tmp_path / "maps").exists()
    live = tmp_path / f".packaging.abc.{socket.gethostname().replace('.', '_')}.{os.getppid()}.tmp"
    live.mkdir()
    with scratch_folder(tmp_path, "packaging") as scratch:
        assert {path.name for path in tmp_path.glob(".packaging.*")} == {scratch.name, live.name}
    write_text(tmp_path / "any", "text")
    assert sorted(path.name for path in tmp_path.iterdir()) == [live.name, "any", "maps"]
    assert [path.name for path in (tmp_path / "maps").iterdir()] == ["old"]


def test_a_part_of_another_machine_stays(tmp_path, monkeypatch):
    """On a shared folder `node.vm` once lost what it was writing to a machine called `vm`. A day passes by the clock of
    the folder, whatever this machine's says."""
    other = tmp_path / f".a.h5.node.{socket.gethostname()}x.999999999.tmp"
    dotted = tmp_path / f".a.h5.node_{socket.gethostname().replace('.', '_')}.999999999.tmp"
    for part in (other, dotted):
        part.touch()
    monkeypatch.setattr("bundle.core.atomic.time.time", lambda: 4e9)
    assert remove_stale_parts(tmp_path) == [] and other.exists() and dotted.exists()
    os.utime(other, (1e9, 1e9))
    assert remove_stale_parts(tmp_path) == [other] and dotted.exists()


def test_a_name_as_long_as_names_may_be(tmp_path):
    """255 bytes: the temporary name had more, and nothing could be written."""
    for name in ("a" * 252 + ".h5", "\u00fc" * 126 + ".h5"):
        write_text(tmp_path / name, "whole")
        assert (tmp_path / name).read_text() == "whole"
    assert len(list(tmp_path.iterdir())) == 2


def test_what_no_encoding_has_is_written_by_number(tmp_path):
    """A name of bytes that are no text does not end a report that tells of it."""
    write_text(tmp_path / "a.csv", "slide \udce4,caf\u00e9\n")
    assert (tmp_path / "a.csv").read_text(encoding="utf-8") == "slide \\udce4,caf\u00e9\n"
