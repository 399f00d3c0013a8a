"""Tables, JSON, XML and YAML that people and other programs bring."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from bundle.cohort import (
    EMBEDDED,
    SlideRef,
    SlideTable,
    read_quarantine,
    read_splits,
    separated_patients,
    split_faults,
    without_excluded,
)
from bundle.comparing.pieces import read_record
from bundle.core import BundleError, read_history
from bundle.evaluation.features.slide_vectors import read_slide_vectors
from bundle.networks import read_about, read_pretraining, registry, sha256_of
from bundle.pipelines.checking.look_files import LookFile
from bundle.pipelines.importing.import_table import read_records
from bundle.slides.roi import roi_mask

from .changes import changed_bytes, changed_json, changed_table, odd_texts
from .drawing import Target

_IDS = [f"s{i}" for i in range(4)]
_FILES = [f"s{i}.svs" for i in range(4)]
_ROWS = [[f"s{i}", "ab"[i % 2], "0.5", f"p{i // 2}", "x", "", str(i + 1), "dead"] for i in range(4)]
_SPLITS = [["s0", "train"], ["s1.svs", "test"], ["s2", "test"], ["s3", "train"]]
_FOLDS = [["p0", "0"], ["p1", "1"], ["s3", "2"]]
_LISTED = [["0", "s0", "s3", "s1.svs"], ["1", "", "", "s2"]]
_BOOL = [["s0", "True", "False"], ["s1", "False", "True"], ["s2", "False", "True"], ["s3", "True", "False"]]
_RING = [[0, 0], [900, 0], [900, 800.5], [0, 0]]
_POLYGON: dict[str, Any] = {"type": "Polygon", "coordinates": [_RING, [[10, 10], [20, 10], [10, 20]]]}
_GEOJSON: list[Any] = [
    {"type": "FeatureCollection", "features": [
        {"type": "Feature", "geometry": _POLYGON,
         "properties": {"objectType": "annotation", "classification": {"name": "Tumor"}}},
        {"type": "Feature", "geometry": {"type": "MultiPolygon", "coordinates": [[_RING]]},
         "properties": {"classification": "Ignore*"}},
    ]},
    {"type": "GeometryCollection", "geometries": [_POLYGON, {"type": "Point", "coordinates": [1, 2]}]},
]  # fmt: skip
_XML = [
    b'<?xml version="1.0"?><ASAP_Annotations><Annotations><Annotation Name="a" Type="Polygon" PartOfGroup="None">'
    b'<Coordinates><Coordinate Order="0" X="1" Y="2"/><Coordinate Order="1" X="900" Y="2,5"/>'
    b'<Coordinate Order="2" X="5" Y="600"/>'
    b"</Coordinates></Annotation></Annotations></ASAP_Annotations>",
    b'<Annotations MicronsPerPixel="0.25"><Annotation Name="x"><Regions><Region Type="1" NegativeROA="0"><Vertices>'
    b'<Vertex X="1" Y="2"/><Vertex X="100" Y="200"/></Vertices></Region>'
    b'<Region Type="Ellipse"><V X="0" Y="0"/><V X="90" Y="80"/></Region></Regions></Annotation></Annotations>',
]
_YAML = [
    b"mine: {input_px: 224, mean: [0.5, 0.5, 0.5], std: [0.2, 0.2, 0.2], output: class, dim: 384, mpp: 0.5,\n"
    b"  files: [a.pt],\n"
    b"  architecture: {family: dino, dim: 384, depth: 12, patch_size: 16}}\n"
    b"other: {mean: 0.5, std: 0.5, interpolation: bicubic}\n"
]


def text_targets(folder: Path) -> Iterator[Target]:
    """Parsers of text; ``folder`` is theirs."""
    yield from _table_targets()
    roi = partial(roi_mask, width=64, height=64, downsample=16.0)
    yield Target("roi GeoJSON", ".geojson", changed_json(_GEOJSON), roi)
    yield Target("roi XML", ".xml", changed_bytes(_XML), roi)
    yaml = changed_bytes(_YAML) | st.builds(_bomb, st.integers(2, 40), st.integers(2, 12)) | _yaml_entries()
    yield Target("encoders YAML", ".yaml", yaml, lambda path: registry(path))
    weights = folder / "weights.pt"
    weights.write_bytes(b"weights")
    about = {"weights_sha256": sha256_of(weights), "n_heads": 6, "mpp": 0.5, "slides": ["a", "b"], "patch_encoder": "x"}

    def pretraining(path: Path) -> None:
        shutil.copy(path, weights.with_suffix(".json"))
        read_pretraining(weights), read_about(weights)

    yield Target("weights JSON", ".json", changed_json([about]), pretraining)
    pieces = {"slpd": {"command": "x", "seconds": 1.5}}
    yield Target("comparison JSON", ".json", changed_json([pieces]), lambda path: read_record(path, "Remove it."))
    if importlib.util.find_spec("pydantic"):  # comes with MONAI Label
        yield Target("Label requests", ".json", changed_json(_REQUESTS), _request)


def _table_targets() -> Iterator[Target]:
    columns = ["slide", "label", "mpp", "patient", "site", "roi", "time", "event"]
    words = [*_IDS, *_FILES, "a", "b", "0.5", "12", "12.0", "dead", "alive", "NA", ""]
    yield Target("slide table", ".csv", changed_table(columns, words, _ROWS), _slide_table)
    sides = ["train", "test", "val", "0", "1", "2.0", *_IDS, *_FILES]
    splits = changed_table(["slide", "split"], sides, _SPLITS) | changed_table(["patient", "fold"], sides, _FOLDS)
    yield Target("split file", ".csv", splits, _splits)
    listed = changed_table(["", "train", "val", "test"], sides, _LISTED)
    listed |= changed_table(["", "train", "test"], ["True", "False", *_IDS], _BOOL)
    yield Target("published splits", ".csv", listed, _published_splits)
    yield Target("exclude list", ".txt", changed_table(["# s", "reason"], [*_FILES, "# c", "s1\tbad"]), _excluded)
    outcome = [*EMBEDDED.columns]
    cells = ["s0", "done", "3", "0.5", "1.0", "cucim", ""]
    yield Target("outcome table", ".csv", changed_table(outcome, cells), EMBEDDED.read)
    records = changed_table(["slide", "status", "dim", "mpp", "error"], ["s0", "done", "3", "0.5"])
    yield Target("import table", ".csv", records, read_records)
    history = changed_table(["epoch", "loss", "lr"], ["0", "1", "0.5", ""])
    yield Target("history", ".csv", history, read_history)
    vectors = changed_table(["slide", "0", "1"], [*_IDS, "0.5", "1", "-2"], [[slide, "0.5", "-2"] for slide in _IDS])
    yield Target("slide vectors CSV", ".csv", vectors, lambda path: read_slide_vectors({"A": path}, _IDS, _FILES))
    looks = changed_json([{"slide": "s0", "begun": "k"}, {"slide": "s0", "key": "k"}])
    yield Target("looks", ".json", looks, lambda path: LookFile(path, ()))


def _slide_table(path: Path) -> None:
    table = SlideTable.read(path)
    table.match(_IDS, _FILES)
    for ask in (table.labels, lambda ids, _: table.patients(ids), lambda ids, _: table.sites(ids)):
        _refusable(ask, _IDS, "label")
    _refusable(table.survival, _IDS)
    table.strays()


def _refusable(ask: Any, *values: Any) -> None:
    """Ask, and let a clear refusal be."""
    try:
        ask(*values)
    except BundleError as error:
        assert str(error)


def _splits(path: Path) -> None:
    units, slides = ["p0", "p1", "s3"], [["s0"], ["s1", "s2"], ["s3"]]
    split_faults(path, units, slides)
    read_splits(path, units, slides)


def _published_splits(path: Path) -> None:
    folder = path.parent / "published"
    folder.mkdir(exist_ok=True)
    shutil.copy(path, folder / "splits_0.csv")
    units, slides = ["p0", "p1", "s3"], [["s0"], ["s1", "s2"], ["s3"]]
    for given in (folder, path):
        separated_patients(given, units, slides)
        _refusable(read_splits, given, units, slides)


def _excluded(path: Path) -> None:
    read_quarantine(path)
    refs = [SlideRef(slide, path.parent / name, name) for slide, name in zip(_IDS, _FILES, strict=True)]
    without_excluded(refs, path, path.parent)


def _bomb(n_levels: int, n_each: int) -> bytes:
    """Aliases of aliases, as many as can be told apart only by writing them out."""
    lines = ["a0: &a0 [" + ", ".join(["lol"] * n_each) + "]"]
    lines += [f"a{i}: &a{i} [" + ", ".join([f"*a{i - 1}"] * n_each) + "]" for i in range(1, n_levels)]
    return ("\n".join(lines) + f"\nmine: {{files: *a{n_levels - 1}, mean: *a{n_levels - 1}}}\n").encode()


def _yaml_entries() -> st.SearchStrategy[bytes]:
    fields = [
        "input_px",
        "resize_px",
        "mean",
        "std",
        "mpp",
        "interpolation",
        "output",
        "files",
        "architecture",
        "dim",
        "license",
    ]
    entries = st.dictionaries(st.sampled_from(fields), st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | odd_texts.filter(lambda t: "\ud800" not in t),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["family", "dim"]), inner),
        max_leaves=4,
    ))  # fmt: skip
    return entries.map(lambda entry: json.dumps({"mine": entry}).encode())


_REQUESTS: list[Any] = [
    {"max_epochs": 3, "batch_size": 8, "lr": 0.001, "seed": 1, "pretrained": True, "resume": "false"},
    {
        "model": "prototypes",
        "image": "s0",
        "location": [0, 0],
        "size": [100, 100],
        "output": "json",
        "min_poly_area": 80,
    },
    {"model": "similar", "head": 1, "n_similar": 3, "location": [1.5, 2]},
]


def _request(path: Path) -> None:
    from bundle.serving.label_requests import SlideRequest, TrainRequest, read_json, read_request

    values = read_json(path.read_text(encoding="utf-8", errors="replace"), "wsi")
    _refusable(read_request, TrainRequest, values)
    _refusable(read_request, SlideRequest, values)
