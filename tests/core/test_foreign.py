"""Limits for files of strangers: depth, size, packing, aliases."""

import io
import json
import zipfile

import h5py
import numpy as np
import pytest
import torch
from slide_embeddings import made_up_slide

from bundle.comparing.pieces import read_record
from bundle.core import (
    BundleError,
    SettingError,
    foreign,
    insist_on_unpacked,
    read_history,
    read_json_file,
    read_yaml_file,
)
from bundle.explore import SearchIndex
from bundle.heads.head_files import load_head
from bundle.networks import infer_vit_architecture, read_pretraining, read_weights, registry
from bundle.pipelines.importing.import_table import read_records
from bundle.pipelines.importing.layouts.layout import whole
from bundle.slides.roi_files import read_areas
from bundle.storage import read_embeddings, write_embeddings

DEEP = b'{"a":' * 100_000


def in_file(path, contents):
    path.write_bytes(contents)
    return path


@pytest.mark.parametrize("read", ["roi", "record", "head", "index", "json"])
def test_json_without_end_is_one_clear_error(read, tmp_path):
    """Nested a hundred thousand times it was a RecursionError wherever JSON was read."""
    path = in_file(tmp_path / "index.json", DEEP)
    (tmp_path / "index.safetensors").touch()
    readers = {
        "roi": lambda: read_areas(path),
        "record": lambda: read_record(path, "Remove it."),
        "head": lambda: load_head(path),
        "index": lambda: SearchIndex.load(tmp_path),
        "json": lambda: read_json_file(path),
    }
    with pytest.raises(ValueError if read == "json" else BundleError, match="nested too deep"):
        readers[read]()
    assert read_pretraining(in_file(tmp_path / "index.pt", b"x")) is None


def test_files_larger_than_any_that_is_meant_are_not_read(tmp_path, monkeypatch):
    """At most as many bytes as the limit says, and one more, are taken into memory."""
    path = in_file(tmp_path / "a.json", b"[1]")
    assert read_json_file(path) == [1]
    monkeypatch.setattr(foreign.read_small, "__defaults__", (2,))
    with pytest.raises(ValueError, match="more than 2 bytes"):
        read_json_file(path)


@pytest.mark.parametrize("last", ["{files: *a29}", "{<<: [*a29, *a29], mean: 1}", "&b [*b]"])
def test_yaml_of_aliases_of_aliases_is_refused(last, tmp_path):
    """Ten times ten thirty times over, or a list in itself: the message wrote them out, until memory was full."""
    lines = [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 30)]
    path = in_file(tmp_path / "own.yaml", "\n".join(["a0: &a0 {mpp: 1}", *lines, f"mine: {last}"]).encode())
    with pytest.raises(SettingError, match=r"own\.yaml cannot be read: its aliases stand for more"):
        registry(path)
    with pytest.raises(SettingError, match="nested too deep"):
        registry(in_file(path, b"[" * 20_000))
    assert read_yaml_file(in_file(path, b"a: &x {b: 1}\nc: {<<: *x}\n")) == {"a": {"b": 1}, "c": {"b": 1}}


def test_archives_that_would_become_much_more_than_they_are(tmp_path, monkeypatch):
    """A few kB that unpack to megabytes: refused before, by every reader of zip archives."""
    path = tmp_path / "weights.pt"
    monkeypatch.setattr(foreign, "_SMALL", 1 << 20)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("data", bytes(2 << 20))
    with pytest.raises(BundleError, match="would be unpacked to 2,097,152"):
        read_weights(path)
    packed = io.BytesIO()
    np.savez_compressed(packed, features=np.zeros((1000, 100)))  # of zeros, and small
    insist_on_unpacked(in_file(tmp_path / "small.npz", packed.getvalue()))


def test_weights_of_no_network(tmp_path):
    """Block number 999,999,999 built as many blocks; a scalar in the place of a kernel was an IndexError."""
    shapes = {
        "cls_token": (1, 1, 4),
        "pos_embed": (1, 5, 4),
        "patch_embed.proj.weight": (4, 3, 8, 8),
        "norm.weight": (4,),
    }
    state = {name: torch.zeros(shape) for name, shape in shapes.items()} | {
        "blocks.0.mlp.fc1.weight": torch.zeros(16, 4)
    }
    assert infer_vit_architecture(state)["depth"] == 1
    with pytest.raises(BundleError, match="lacks blocks: it has 2"):
        infer_vit_architecture(state | {"blocks.999999999.norm1.weight": torch.zeros(4)})
    with pytest.raises(BundleError, match="no vision transformer has"):
        infer_vit_architecture(state | {"patch_embed.proj.weight": torch.zeros(())})


@pytest.mark.parametrize("contents", [b"slide,status,dim\ns,done,many\n", b"\xff\xfe\xfd", b"epoch,loss\n1,2,3\n"])
def test_tables_of_runs_that_another_program_wrote(contents, tmp_path):
    """Tracebacks of each kind: no number, no text, more cells than columns."""
    path = in_file(tmp_path / "t.csv", contents)
    for read in (read_history, read_records):
        with pytest.raises(BundleError, match=r"t\.csv is no"):
            read(path)


def test_embeddings_whose_arrays_do_not_fit(tmp_path):
    """Files without checksums: shapes that no inference writes ended deep in the search."""
    write_embeddings(made_up_slide(), tmp_path / "s.h5")

    def changed(name, values):
        with h5py.File(tmp_path / "s.h5", "r") as whole_file, h5py.File(tmp_path / "t.h5", "w") as file:
            for each in whole_file:
                file[each] = values if each == name else whole_file[each][:]
            file.attrs.update({k: v for k, v in whole_file.attrs.items() if "checksum" not in k})
        return read_embeddings(tmp_path / "t.h5")

    assert len(changed("", None)) == 12
    for name, values in (
        ("projection", np.zeros((12, 3), "f4")),
        ("slide_embedding", np.ones((2, 3), "f4")),
        ("coords", np.zeros((2, 2))),
    ):
        with pytest.raises(BundleError, match="do not fit one another"):
            changed(name, values)
    with pytest.raises(BundleError, match="prototypes that it does not have"):
        changed("assignment", np.full(12, 3))
    slide = changed("", None)
    for found in ("wide", None, float("nan")):
        slide.attributes["region_size_level0"] = found
        with pytest.raises(BundleError, match="record region_size_level0"):
            _ = slide.patch_level0


def test_coordinates_of_strangers_are_measured_before_they_are_read(tmp_path):
    """A file of some kB that says 2**40 coordinates, and one whose coordinates lie in another file."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("coords", (1 << 40, 2), "i8", chunks=(4, 2))
        file["other/features"] = h5py.ExternalLink("/etc/hostname", "x")
        for name, words in (("coords", "more than any slide has"), ("other/features", "a link to another file")):
            with pytest.raises(BundleError, match=words):
                whole(file, name, tmp_path / "a.h5")


def test_json_is_read_as_ever(tmp_path):
    """The same values as Python's own reader gives."""
    found = {"a": [1, 2.5, None, "ä"], "b": {"c": True}}
    assert read_json_file(in_file(tmp_path / "a.json", json.dumps(found).encode())) == found
