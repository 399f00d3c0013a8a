"""The manifest of a folder of token files: a second start opens what changed, and takes no file for another."""

import json
import logging
import os
import shutil
import time

import numpy as np
import pytest
import torch
from cohorts import write_tokens

from bundle.core import BundleError
from bundle.storage import TokenDataset, TokenFile, token_files, token_header
from bundle.storage.manifest import MANIFEST


def write(folder, name, n_regions=2, seed=0, **attributes):
    """A token file whose tokens, coordinates and masks are a function of name and seed."""
    path, attributes = folder / f"{name}.h5", {"slide_path": f"{name}.tif", **attributes}
    write_tokens(path, n_regions, 3, 3, seed=[seed, *name.encode()], **attributes)
    return path


def grow_old(folder, monkeypatch):
    """As if what is there had been written a while ago: only a file system could set its own time."""
    clock = "bundle.storage.manifest.Manifest._clock"
    monkeypatch.setattr(clock, lambda self: time.time_ns() + 60_000_000_000)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Five files in two folders, for which a manifest is worth it."""
    monkeypatch.setattr(token_files, "_MANY", 1)
    (tmp_path / "more").mkdir()
    for i in range(4):
        write(tmp_path, f"s{i}", n_regions=i + 1)
    write(tmp_path / "more", "t\u00e9", encode_background=True)
    grow_old(tmp_path, monkeypatch)
    return tmp_path


@pytest.fixture
def opened(monkeypatch):
    """Names of files that were opened since it was last cleared."""
    names, read = [], token_header.read_layout

    def counted(path, verify):
        names.append(path.stem)
        return read(path, verify)

    monkeypatch.setattr("bundle.storage.token_store.read_layout", counted)
    return names


def state(data):
    """All that a data set says."""
    tensors = [data.coords, data.masks, data.present, data.slide_index, data.read(np.arange(len(data)))]
    headers = [header._replace(attributes=dict(sorted(header.attributes.items()))) for header in data.headers]
    return [tensor.tolist() for tensor in tensors], headers, data.fingerprint, data.kind


@pytest.mark.parametrize("center", [None, "slide"])
def test_a_second_start_opens_nothing_and_finds_the_same(folder, opened, center):
    """Everything a data set has comes from the manifest, tokens are compared with checksums; few files need none."""
    first = state(TokenDataset(folder, cache="none", center_tokens=center))
    assert sorted(opened) == ["s0", "s1", "s2", "s3", "t\u00e9"] and (folder / MANIFEST).is_file()
    opened.clear()
    second = TokenDataset(folder, cache="none", center_tokens=center)
    assert state(second) == first and opened == []
    assert (
        state(TokenDataset(folder, cache="none", verify="always", center_tokens=center)) == first and len(opened) == 5
    )


def test_tokens_are_compared_with_the_checksums_of_the_manifest(folder, opened):
    """A bit that changes after the data set was made, in whose file nothing else tells of it, is noticed."""
    TokenDataset(folder, cache="none")
    data, path = TokenDataset(folder, cache="none"), folder / "s3.h5"
    before, contents = os.stat(path), bytearray(path.read_bytes())
    contents[TokenFile(path).offset(0)] ^= 1
    with path.open("r+b") as file:
        file.write(contents)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(BundleError, match="is damaged"):
        data.read(np.arange(len(data)))


def test_what_changed_is_read_again_and_what_is_gone_is_left_out(folder, opened):
    """Another file of the same name, size and time of change is not taken for the old one; new ones are found."""
    TokenDataset(folder, cache="none")
    opened.clear()
    before = os.stat(folder / "s1.h5")
    write(folder, "s1", n_regions=2, seed=1)
    assert os.stat(folder / "s1.h5").st_size == before.st_size
    os.utime(folder / "s1.h5", ns=(before.st_atime_ns, before.st_mtime_ns))
    in_place, stamp = folder / "s2.h5", os.stat(folder / "s2.h5")
    shutil.copyfile(write(folder, "other", n_regions=3, slide_id="s2", seed=2), in_place)  # the inode stays
    (folder / "other.h5").unlink()
    os.utime(in_place, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    (folder / "s0.h5").unlink()
    write(folder, "s9")
    found = state(TokenDataset(folder, cache="none"))
    assert sorted(opened) == ["s1", "s2", "s9"]
    (folder / MANIFEST).rename(folder / "aside")
    assert state(TokenDataset(folder, cache="none")) == found
    lines = [json.loads(line) for line in (folder / MANIFEST).read_text().splitlines()[1:-1]]
    assert [(line["file"], line["regions"], line["dim"]) for line in lines] == [
        (name, n, 3) for name, n in (("more/t\u00e9.h5", 2), ("s1.h5", 2), ("s2.h5", 3), ("s3.h5", 4), ("s9.h5", 2))
    ]


def test_a_file_of_just_now_is_read_again(folder, opened, monkeypatch):
    """Within a step of the file system's clock it might be written twice and look the same; the clock is its own."""
    monkeypatch.undo()
    monkeypatch.setattr(token_files, "_MANY", 1)
    TokenDataset(folder, cache="none")
    text = (folder / MANIFEST).read_text() if (folder / MANIFEST).exists() else ""
    assert '"file"' not in text and not list(folder.glob(".*.tmp"))


@pytest.mark.parametrize("damage", ["cut", "changed", "strange", "version", "empty"])
def test_a_damaged_manifest_is_named_and_made_anew(folder, opened, caplog, damage):
    """Whatever it holds, the data set is that of the files."""
    found, path = state(TokenDataset(folder, cache="none")), folder / MANIFEST
    good = path.read_bytes()
    lines = good.splitlines(keepends=True)
    bad = {
        "cut": good[: len(good) // 2],
        "changed": good.replace(b'"regions": 3', b'"regions": 4'),
        "strange": lines[0] + b"[1, 2]\n" + lines[-1],
        "version": good.replace(b'"manifest_version": 1', b'"manifest_version": 2'),
        "empty": b"",
    }
    path.write_bytes(bad[damage])
    opened.clear()
    with caplog.at_level(logging.WARNING):
        assert state(TokenDataset(folder, cache="none")) == found
    assert len(opened) == 5 and MANIFEST in caplog.text and "damaged" in caplog.text
    assert path.read_bytes() == good


def test_a_folder_that_cannot_be_written_to_goes_on(folder, opened, caplog, monkeypatch):
    """Without a manifest, or with the one that somebody else has made; another process than the first writes none."""
    monkeypatch.setenv("RANK", "1")
    TokenDataset(folder, cache="none")
    assert not (folder / MANIFEST).exists()
    monkeypatch.delenv("RANK")
    (folder / MANIFEST).mkdir()  # whoever runs the tests may write to anything, but not this
    (folder / MANIFEST / "full").touch()
    with caplog.at_level(logging.WARNING):
        data = TokenDataset(folder, cache="none")
    assert len(data.slide_ids) == 5 and "next start reads files again" in caplog.text


def test_excluded_files_stay_known(folder, opened, tmp_path):
    """A run that leaves some out, or asks for some, changes nothing for the next."""
    TokenDataset(folder, cache="none")
    listed = tmp_path / "leave_out.txt"
    listed.write_text("s1\n")
    before = (folder / MANIFEST).read_bytes()
    opened.clear()
    assert TokenDataset(folder, cache="none", exclude=listed, slides=["s2", "s3"]).slide_ids == ["s2", "s3"]
    assert opened == [] and (folder / MANIFEST).read_bytes() == before


def test_dense_and_other_files_stand_side_by_side(folder):
    """Patches that have tokens are those with tissue, or all, file by file."""
    data = TokenDataset(folder, cache="none")
    dense = torch.tensor([name == "t\u00e9" for name in data.slide_ids])[data.slide_index]
    assert bool(data.present[dense].all()) and torch.equal(data.present[~dense], data.masks[~dense])
    assert not bool(data.masks[dense].all())
