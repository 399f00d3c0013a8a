"""Token files, embeddings, indexes, heads and features of other tools."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from safetensors.numpy import save

from bundle.evaluation.features.feature_store import FeatureStore
from bundle.evaluation.features.slide_vectors import read_slide_vectors
from bundle.evaluation.prediction_store import PredictionStore
from bundle.explore import NearestSlides, SearchIndex
from bundle.explore.search.catalog import Entry
from bundle.pipelines import FeatureImporter
from bundle.storage import (
    KnownSlides,
    SlideEmbeddings,
    TokenFile,
    read_embeddings,
    read_embeddings_header,
    write_embeddings,
)
from scripts.pins.foreign_features import (
    PITCH,
    features,
    lattice,
    write_atlas,
    write_clam,
    write_plain,
    write_slide2vec,
    write_stamp,
    write_trident,
)

from .changes import changed_bytes, changed_json
from .drawing import Target
from .hdf5_changes import changed_hdf5
from .heads import head_targets

_SIDE, _DIM = 4, 3
_XY, _VALUES = lattice(columns=4, rows=3, share=1.0), features(12, dim=4)


def stored_targets(folder: Path) -> Iterator[Target]:
    """Parsers of arrays; ``folder`` is theirs."""
    tokens = changed_hdf5(_tokens) | changed_hdf5(partial(_tokens, chunks=True))
    yield Target("token file", ".h5", tokens, _read_tokens)
    yield Target("embeddings", ".h5", changed_hdf5(partial(_copy, _embeddings(folder))), _read_embeddings)
    for name, path in _foreign(folder / "foreign").items():
        read = partial(_import, folder / "in", "features_theirs/s0.h5")
        yield Target(f"import {name}", ".h5", changed_hdf5(partial(_copy, path)), read)
    points = write_clam(folder / "clam", "s0", _XY, _VALUES, h5=False) / "patches" / "s0.h5"
    beside = {"patches/s0.h5": points.read_bytes()}
    place_points = partial(_import, folder / "in", "pt_files/s0.pt", beside=beside, encoder="theirs")
    yield Target("import pt", ".pt", changed_bytes([_pt(torch.zeros(12, 4)), _pt(torch.zeros(2, 16, 4))]), place_points)
    rows = partial(_import, folder / "in", "s0.csv", beside={"s0.pt": _pt(torch.zeros(2, 16, 4))}, encoder="theirs")
    yield Target("import csv", ".csv", changed_bytes([b"x,y\n0,0\n4096,0\n"]), rows)
    yield from _slide2vec(folder)
    yield from _search(folder)
    yield from head_targets(folder)
    vectors = partial(_vectors, folder / "vectors")
    for suffix, contents in ((".npy", _npy(np.zeros(3))), (".pt", _pt(torch.zeros(1, 3)))):
        yield Target(f"slide vectors {suffix}", suffix, changed_bytes([contents]), vectors)
    yield Target("slide vectors .h5", ".h5", changed_hdf5(_vector), vectors)
    yield Target("stored scores", ".npy", changed_bytes([_npy(np.zeros((3, 2)))]), partial(_scores, folder / "scores"))
    yield Target(
        "stored features",
        ".safetensors",
        changed_bytes([save({"a": np.zeros((3, 2), np.float32)})]),
        partial(_features, folder / "parts"),
    )


def _tokens(file: h5py.File, chunks: bool = False) -> None:
    options = {"chunks": (1, _SIDE, _SIDE, _DIM)} if chunks else {}
    file.create_dataset("features", data=np.ones((2, _SIDE, _SIDE, _DIM), np.float16), **options)
    file["coords"], file["mask"] = np.zeros((2, 2), np.int64), np.ones((2, _SIDE, _SIDE), bool)
    file.attrs.update(
        {"slide_id": "s0", "slide_path": "s0.svs", "encoder": "e", "format_version": 1, "mpp": 0.5, "slide_bytes": 3}
    )


def _read_tokens(path: Path) -> None:
    KnownSlides([path.parent])(path.stem)
    file = TokenFile(path)
    if len(file) < 100:
        file.verify()
        file.read(), file.center


def _embeddings(folder: Path) -> Path:
    unit = np.eye(2, 4, dtype=np.float32)
    slide = SlideEmbeddings(
        "s0", np.ones((2, _DIM), np.float32), unit, np.zeros((2, 2), np.int64), np.ones((2, _SIDE, _SIDE), bool),
        np.ones(_DIM, np.float32), unit[:1], np.array([0, -1]), np.full((2, 1, _SIDE, _SIDE), 0.01, np.float16),
        {"mpp": 0.5, "level0_mpp": 0.25, "level0_width": 9, "level0_height": 9, "region_size_level0": 8.0,
         "slide_path": "s0.svs"},
    )  # fmt: skip
    path = folder / "whole.h5"
    write_embeddings(slide, path)
    return path


def _copy(path: Path, file: h5py.File) -> None:
    """What a file holds, without checksums, as files of before: what is odd would be noticed by them alone."""
    with h5py.File(path) as whole:
        for name in whole:
            whole.copy(name, file)
        file.attrs.update({k: v for k, v in whole.attrs.items() if "checksum" not in k})


def _read_embeddings(path: Path) -> None:
    read_embeddings_header(path)
    slide = read_embeddings(path)
    shutil.rmtree(path.parent / "made", ignore_errors=True)
    index = SearchIndex.open(path.parent / "made")
    index.add([slide], [Entry(slide.slide_id, "s0", (0, 0), {})])


def _foreign(folder: Path) -> dict[str, Path]:
    """Features in a file a slide, by whose layout it is."""
    own = {"encoder": "theirs", "patch_size": 256, "patch_size_level0": PITCH, "level0_mpp": 0.25}
    return {
        "TRIDENT": write_trident(folder / "trident.h5", _XY, _VALUES, mpp=0.25),
        "AtlasPatch": write_atlas(folder / "atlas.h5", _XY, {"theirs": _VALUES}),
        "STAMP": write_stamp(folder / "stamp.h5", _XY, _VALUES),
        "plain h5": write_plain(folder / "plain.h5", _XY, _VALUES, **own),
    }


def _vector(file: h5py.File) -> None:
    file["features"] = np.ones(3, np.float32)


def _import(
    folder: Path, name: str, path: Path, beside: dict[str, bytes] | None = None, encoder: str | None = None
) -> None:
    """Import a folder of one slide."""
    shutil.rmtree(folder, ignore_errors=True)
    for relative, contents in {name: path.read_bytes(), **(beside or {})}.items():
        (folder / relative).parent.mkdir(parents=True, exist_ok=True)
        (folder / relative).write_bytes(contents)
    made = folder.with_name("made")
    shutil.rmtree(made, ignore_errors=True)
    FeatureImporter(
        folder, made / "tokens", made, encoder=encoder, patch_size=256, default_mpp=0.25, min_tissue_patches=1
    ).run()


def _slide2vec(folder: Path) -> Iterator[Target]:
    root = write_slide2vec(folder / "slide2vec", "s0", _XY, _VALUES, is_npz=True)
    files = {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*.*"))}
    for name, whole in files.items():
        contents = changed_json([json.loads(whole)]) if name.endswith(".json") else changed_bytes([whole])
        beside = {other: found for other, found in files.items() if other != name}
        title = f"slide2vec {name.partition('s0.')[2]}"
        yield Target(title, Path(name).suffix, contents, partial(_import, folder / "in", name, beside=beside))


def _search(folder: Path) -> Iterator[Target]:
    (folder / "embedded").mkdir(exist_ok=True)
    index = SearchIndex.open(folder / "index")
    index.add([read_embeddings(_embeddings(folder / "embedded"))], [Entry("s0", "s0", (1, 2), {"label": "a"})])
    catalog = json.loads((folder / "index" / "index.json").read_text())
    parts = [path.name for path in sorted((folder / "index").glob("*.safetensors"))]
    yield Target("search index", ".json", changed_json([catalog]), partial(_look_up, folder / "index", "index.json"))
    for part in parts:
        read = partial(_look_up, folder / "index", part)
        yield Target(
            f"search {part[:7]}", ".safetensors", changed_bytes([(folder / "index" / part).read_bytes()]), read
        )


def _look_up(folder: Path, name: str, path: Path) -> None:
    shutil.rmtree(folder.with_name("looked"), ignore_errors=True)
    shutil.copytree(folder, folder.with_name("looked"))
    shutil.copy(path, folder.with_name("looked") / name)
    index = SearchIndex.load(folder.with_name("looked"))
    nearest = NearestSlides(index)
    nearest.by_embedding(np.ones(_DIM, np.float32), 1, index.is_live)
    nearest.by_sets(np.eye(1, 4, dtype=np.float32), 1, index.is_live)
    nearest.by_regions(np.ones((1, _DIM), np.float32), 1, index.is_live)


def _vectors(folder: Path, path: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shutil.copy(path, folder / f"s0{path.suffix}")
    read_slide_vectors({"A": folder}, ["s0"])


def _scores(folder: Path, path: Path) -> None:
    folder.mkdir(exist_ok=True)
    shutil.copy(path, folder / "k.npy")
    PredictionStore(folder).get("k")


def _features(folder: Path, path: Path) -> None:
    folder.mkdir(exist_ok=True)
    shutil.copy(path, folder / "part_00000.safetensors")
    store = FeatureStore(folder)
    if store.has(0, 3):
        store.read(0)


def _npy(values: Any) -> bytes:
    contents = io.BytesIO()
    np.save(contents, values)
    return contents.getvalue()


def _pt(values: Any) -> bytes:
    contents = io.BytesIO()
    torch.save(values, contents)
    return contents.getvalue()
