"""Token files: what is written is read back, and nothing half-written has a name."""

import os

import h5py
import numpy as np
import pytest
from cohorts import write_tokens
from full_disk import full_disk

from bundle.core import BundleError, encoder_key, remove_stale_parts
from bundle.storage import NoRoomError, TokenFile, TokenFileWriter, read_token_header
from bundle.storage.token_header import FORMAT_VERSION


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_what_is_written_is_read_back(tmp_path, dtype):
    """Tokens, mask, coordinates and attributes survive, with this reader and with plain h5py."""
    path = tmp_path / "a.h5"
    features, mask, coords = write_tokens(path, dtype=dtype, level0_mpp=0.25, mean=[0.1, 0.2])
    file = TokenFile(path)
    np.testing.assert_array_equal(file.read(), features)
    np.testing.assert_array_equal(file.read([3, 1]), features[[3, 1]])
    np.testing.assert_array_equal(file.mask, mask)
    np.testing.assert_array_equal(file.coords, coords)
    with h5py.File(path) as plain:
        np.testing.assert_array_equal(plain["features"][:], features)
        assert plain["features"].chunks == (1, 4, 4, 6) and plain["coords"].dtype == np.int64
        assert plain["mask"].dtype == bool
    header = read_token_header(path)
    assert (header.slide_id, header.n_regions, header.region_patches, header.dim) == ("a", 5, 4, 6)
    assert header.attributes["level0_mpp"] == 0.25 and header.attributes["mean"] == [0.1, 0.2]
    assert header.attributes["format_version"] == FORMAT_VERSION and header.attributes["bundle_version"]


@pytest.mark.parametrize("options", [{"compression": "gzip", "chunks": (1, 4, 4, 6)}, {"chunks": (2, 4, 4, 6)}, {}])
def test_other_layouts_of_the_same_datasets_are_read(tmp_path, options):
    """A file that was compressed, re-chunked or made contiguous by another tool gives the same tokens."""
    features, _, _ = write_tokens(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5") as source, h5py.File(tmp_path / "b.h5", "w") as copy:
        copy.attrs.update(source.attrs)
        copy["coords"], copy["mask"] = source["coords"][:], source["mask"][:]
        copy.create_dataset("features", data=source["features"][:], **options)
    np.testing.assert_array_equal(TokenFile(tmp_path / "b.h5").read([4, 0]), features[[4, 0]])


def test_a_file_gets_its_name_when_it_is_on_the_disk(tmp_path, monkeypatch):
    """The file is flushed before it has its name, then its folder: a power cut leaves no file with holes."""
    path, flush, flushed = tmp_path / "a.h5", os.fsync, []

    def watched(handle):
        flushed.append((os.fstat(handle).st_ino, path.exists()))
        flush(handle)

    monkeypatch.setattr(os, "fsync", watched)
    write_tokens(path)
    assert flushed == [(path.stat().st_ino, False), (tmp_path.stat().st_ino, True)]


def fail(writer):
    raise RuntimeError("decoder")


@pytest.mark.parametrize(
    ("go_on", "error", "message"),
    [
        (fail, RuntimeError, "decoder"),
        (lambda writer: None, ValueError, "4 regions of a.h5 were never written"),
        (
            lambda writer: writer.write(2, np.full((4, 4, 6), 7e4)),
            BundleError,
            "region 2 of a.h5 are not finite as float16.*float32",
        ),
    ],
    ids=["in the middle", "missing regions", "beyond float16"],
)
def test_an_error_leaves_nothing(tmp_path, go_on, error, message):
    """A slide that fails in the middle leaves neither a file nor a part; one that lacks regions is no file with zeros
    in it; 70,000 would become infinity in float16 and poison training."""
    attributes = {"slide_id": "a", "encoder": "e", "mpp": 0.5}
    coords, mask, path = np.zeros((5, 2), int), np.ones((5, 4, 4), bool), tmp_path / "a.h5"
    with pytest.raises(error, match=message):
        with TokenFileWriter(path, region_patches=4, dim=6, coords=coords, mask=mask, attributes=attributes) as writer:
            writer.write(0, np.ones((4, 4, 6)))
            assert not path.exists()
            go_on(writer)
    assert list(tmp_path.iterdir()) == []


def test_no_room_is_known_before_anything_is_encoded(tmp_path):
    """Where the file cannot grow to its size, entering the writer fails with the file's name and leaves nothing."""
    write_tokens(tmp_path / "done.h5")
    with full_disk(100_000), pytest.raises(NoRoomError, match="no room to write .*big.h5.*finished slides are kept"):
        write_tokens(tmp_path / "big.h5", n_regions=200, dim=64)
    assert [path.name for path in tmp_path.iterdir()] == ["done.h5"]


def test_parts_of_dead_runs_are_removed(tmp_path):
    """A killed run's part file goes away at the next write; a living process keeps its own."""
    host = os.uname().nodename
    dead, alive = tmp_path / f".a.h5.{host}.4194399.tmp", tmp_path / f".b.h5.{host}.{os.getppid()}.tmp"
    foreign, other = tmp_path / ".c.h5.elsewhere.1.tmp", tmp_path / ".c.h5.editor.tmp"
    for path in (dead, alive, foreign, other):
        path.touch()
    assert remove_stale_parts(tmp_path) == [dead]
    os.utime(foreign, (0, 0))
    os.utime(other, (0, 0))
    write_tokens(tmp_path / "d.h5")
    assert sorted(path.name for path in tmp_path.iterdir()) == [alive.name, other.name, "d.h5"]


def test_a_folder_is_looked_through_once(tmp_path, monkeypatch):
    """Done before every file it would take the longer the more files there are."""
    looks = []
    monkeypatch.setattr("bundle.core.atomic.remove_stale_parts", looks.append)
    for number, folder in enumerate(("one", "one", "other")):
        write_tokens(tmp_path / folder / f"{number}.h5")
    assert looks == [tmp_path / "one", tmp_path / "other"]


def test_broken_files_are_named(tmp_path):
    """Cut short, empty, something else, another tool's HDF5: each is an error with the file's name and a cause."""
    write_tokens(tmp_path / "cut.h5", n_regions=20, dim=64)
    os.truncate(tmp_path / "cut.h5", 20_000)
    (tmp_path / "empty.h5").touch()
    (tmp_path / "text.h5").write_text("hello" * 1000)
    with h5py.File(tmp_path / "clam.h5", "w") as file:
        file["features"], file["coords"] = np.zeros((7, 384)), np.zeros((7, 2))
    for name in ("cut", "empty", "text"):
        with pytest.raises(BundleError, match=f"{name}.h5 cannot be read .*damaged"):
            TokenFile(tmp_path / f"{name}.h5")
    with pytest.raises(BundleError, match="clam.h5 is not a token file.*lacks mask, attribute encoder"):
        TokenFile(tmp_path / "clam.h5")
    with pytest.raises(BundleError, match="none.h5 does not exist"):
        TokenFile(tmp_path / "none.h5")


def test_a_newer_format_is_refused(tmp_path):
    """A file of a later format version says that the bundle is too old, instead of being misread."""
    write_tokens(tmp_path / "a.h5", format_version=FORMAT_VERSION + 1)
    with pytest.raises(BundleError, match="reads up to"):
        TokenFile(tmp_path / "a.h5")


def test_encoders_are_told_apart_by_their_hash():
    """A renamed weights file is the same encoder; the same name with other weights is not."""
    assert encoder_key("a.pt sha256:12") == encoder_key("b.pt sha256:12") != encoder_key("a.pt sha256:13")
    assert encoder_key("planted") == "planted"
