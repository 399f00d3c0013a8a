"""Copies of slides on a disk nearby: the same tokens, within their room, and never a half one."""

import hashlib
import logging
import os
import threading
from contextlib import suppress

import numpy as np
import pytest
from empty_files import touch
from full_disk import full_disk
from tiny_slides import READ, MeanColors, write_slide

from bundle.cohort import find_slides
from bundle.core import BundleError
from bundle.core.stopping import StoppedError, heed
from bundle.pipelines import PatchStream, SlidePipeline, TokenSink
from bundle.slides import LocalCopies


@pytest.fixture(scope="module")
def slides(tmp_path_factory):
    """Five slides."""
    folder = tmp_path_factory.mktemp("mount")
    for number in range(5):
        write_slide(folder / f"s{number}.tif", 320, number)
    return folder


def size_of(folder):
    """Bytes of the files below a folder from which others take files and folders away meanwhile."""
    size = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                size += os.stat(os.path.join(place, name)).st_size
    return size


def tokens_of(slides, out, copies):
    """Digests of the slides' token files, which files were opened for them, and most bytes of copies at a time."""
    opened, most = {}, [0]

    class Watched(PatchStream):
        def open(self, job):
            regions = super().open(job)
            opened[job.slide_id] = regions.slide.path
            if copies.folder is not None:
                most[0] = max(most[0], size_of(copies.folder))
            return regions

    stream = Watched(find_slides(slides), out / "tokens", copies=copies, batch_size=40, **READ)
    SlidePipeline("cpu", stream, MeanColors(), TokenSink(), out).run()
    files = sorted((out / "tokens").glob("*.h5"))
    assert len(files) == 5
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}, opened, most[0]


@pytest.fixture(scope="module")
def plain(slides, tmp_path_factory):
    """Digests of token files without copies."""
    return tokens_of(slides, tmp_path_factory.mktemp("plain"), LocalCopies(None))[0]


def left(folder):
    """What lies in a folder."""
    return sorted(path.name for path in folder.rglob("*"))


def test_copies_are_read_and_removed(slides, plain, tmp_path):
    """Every slide is read from its copy, token files are the same to the byte, and what a dead process left goes."""
    folder = tmp_path / "cache"
    dead = folder / f".slides.x.{os.uname().nodename.replace('.', '_')}.{2**22 + 1}.tmp"
    touch(dead, "old.tif")
    found, opened, most = tokens_of(slides, tmp_path, LocalCopies(folder, 1))
    assert found == plain and 0 < most
    assert all(folder in path.parents and path.name == f"{name}.tif" for name, path in opened.items())
    assert left(folder) == []


def test_copies_keep_within_their_room(slides, plain, tmp_path, caplog, monkeypatch):
    """What does not fit is read where it is, and the log says so once; the room is that of all processes."""
    size = max(path.stat().st_size for path in slides.iterdir())
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setattr("bundle.slides.local_copies.as_number", lambda value, *_: float(value))
    with caplog.at_level(logging.WARNING):
        found, opened, most = tokens_of(slides, tmp_path, LocalCopies(tmp_path / "cache", 2.5 * size / 1e9))
    assert found == plain and 0 < most <= 1.25 * size
    assert any(path.parent == slides for path in opened.values()) and caplog.text.count("slide_cache") == 1


def test_a_full_disk_falls_back_to_the_mount(slides, plain, tmp_path, caplog):
    """Copies that the disk takes no further go, one warning is given, and all slides are tokenized."""
    copies = LocalCopies(tmp_path / "cache", 1)
    limit = min(path.stat().st_size for path in slides.iterdir()) // 2
    with full_disk(limit), caplog.at_level(logging.WARNING):
        found, opened, _ = tokens_of(slides, tmp_path, copies)
    assert found == plain and {path.parent for path in opened.values()} == {slides}
    assert max(path.stat().st_size for path in (tmp_path / "tokens").glob("*.h5")) < limit  # slides alone are too large
    assert caplog.text.count("cannot be copied") == 1 and "File too large" in caplog.text
    assert left(tmp_path / "cache") == []


def test_a_copy_has_its_name_when_it_is_complete(slides, tmp_path, monkeypatch):
    """A file that is cut short while it is copied, and a run that ends, leave no copy and keep no room."""
    copies, slide = LocalCopies(tmp_path / "cache", 1), slides / "s0.tif"
    monkeypatch.setattr("bundle.slides.local_copies._PIECE", 1000)
    names = set()
    monkeypatch.setattr("bundle.slides.local_copies.insist_on_wanted", lambda: names.update(left(copies.folder)))
    copy = copies.take(slide)
    assert copy.read_bytes() == slide.read_bytes() and {"s0.tif.part"} == {n for n in names if n.startswith("s0")}
    copies.give_back(copy)
    monkeypatch.undo()
    shorter = tmp_path / "shorter.tif"
    shorter.write_bytes(slide.read_bytes())
    cut = lambda: os.truncate(shorter, 20_000)  # noqa: E731
    monkeypatch.setattr("bundle.slides.local_copies._PIECE", 1000)
    monkeypatch.setattr("bundle.slides.local_copies.insist_on_wanted", cut)
    assert copies.take(shorter) == shorter
    monkeypatch.undo()
    stop = threading.Event()
    stop.set()
    heed(stop)
    try:
        with pytest.raises(StoppedError):
            copies.take(slide)
    finally:
        heed(threading.Event())
    assert not [path for path in copies.folder.rglob("*") if path.is_file()] and copies._left == 10**9
    copies.close()
    assert left(tmp_path / "cache") == []


def test_processes_that_share_a_folder_know_nothing_of_one_another(slides, tmp_path):
    """One's copy stays when the other's goes."""
    one, other = LocalCopies(tmp_path / "cache"), LocalCopies(tmp_path / "cache")
    mine, theirs = one.take(slides / "s1.tif"), other.take(slides / "s1.tif")
    assert mine != theirs
    one.give_back(mine)
    one.close()
    assert not mine.exists() and theirs.read_bytes() == (slides / "s1.tif").read_bytes()
    other.close()


def test_slides_of_several_files_are_left_where_they_are(tmp_path, caplog):
    """A copy of the first file alone would lack the pixels; each format is told once."""
    touch(tmp_path, "m/Slidedat.ini")
    (tmp_path / "m.mrxs").write_bytes(b"\xff\xd8\xff" + bytes(600))
    (tmp_path / "d.dcm").write_bytes(bytes(128) + b"DICM" + bytes(600))
    copies = LocalCopies(tmp_path / "cache")
    with caplog.at_level(logging.WARNING):
        for name in ("m.mrxs", "d.dcm", "m.mrxs", "missing.svs"):
            assert copies.take(tmp_path / name) == tmp_path / name
    assert caplog.text.count("MIRAX") == 1 and caplog.text.count("DICOM") == 1 and "missing" not in caplog.text


@pytest.mark.parametrize("names", [("a.ome.tif",), ("a.ome.tif", "b.ome.tif")])
def test_an_ome_tiff_of_several_files_is_left_too(tmp_path, names):
    """Its description names the files."""
    import tifffile

    blocks = "".join(f'<TiffData><UUID FileName="{name}">urn:uuid:0</UUID></TiffData>' for name in names)
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, np.zeros((16, 16), np.uint8), description=f"<OME>{blocks}</OME>", metadata=None)
    copies = LocalCopies(tmp_path / "cache")
    assert (copies.take(path) != path) == (len(names) == 1)
    copies.close()


def test_no_room_is_refused():
    """A mistake is told at the start."""
    with pytest.raises(BundleError, match="slide_cache_gb"):
        LocalCopies("anywhere", 0)
