"""A file of results as named items: what it says, apart from how its container was written."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from io import BytesIO
from itertools import zip_longest
from pathlib import PurePosixPath
from typing import Any

import h5py
import nibabel
import numpy as np
import safetensors.torch
import tifffile
import torch
from numpy.typing import NDArray
from PIL import Image

Item = NDArray[Any] | str
Items = Iterator[tuple[str, Item]]


def items_of(name: str, content: bytes) -> Items:
    """Everything a file says, by name: arrays, and all else as text.

    Args:
        name: the file's path; its ending tells the kind. Kinds without a reader are text, or else known by their hash.
        content: the file.

    Raises:
        ValueError: the file is not what its name says.
    """
    path = PurePosixPath(name)
    is_log = path.name.startswith("events.out.tfevents")
    try:
        yield from (_events if is_log else _READERS.get(path.suffix.lower(), _text))(io.BytesIO(content))
    except Exception as error:  # each library has its own kinds
        raise ValueError(f"{name} cannot be read ({type(error).__name__}: {error}).") from error


def _hdf5(content: BytesIO) -> Items:
    with h5py.File(content) as file:
        found: list[Any] = [file]
        file.visititems(lambda _, entry: found.append(entry))
        for entry in found:
            if isinstance(entry, h5py.Dataset):
                yield entry.name, np.asarray(entry[()])
                yield f"{entry.name}#storage", f"{entry.dtype} chunks {entry.chunks} {entry.compression}"
            yield from ((f"{entry.name}@{name}", _leaf(value)) for name, value in entry.attrs.items())


def _leaf(value: Any) -> Item:
    """Arrays and tensors as arrays; floats with all digits, and everything with its kind, as text."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        return value.view(torch.int16).numpy() if value.dtype == torch.bfloat16 else value.numpy()
    return np.asarray(value) if isinstance(value, np.ndarray | np.generic) else repr(value)


def _nested(value: Any, name: str = "") -> Items:
    is_list = isinstance(value, list | tuple)
    if isinstance(value, Mapping):
        yield f"{name}/", "keys " + repr([str(key) for key in value])
        for key, inner in value.items():
            yield from _nested(inner, f"{name}/{key}")
    elif is_list and not all(isinstance(inner, int | float | str) for inner in value):
        yield f"{name}/", f"{len(value)} entries"
        for i, inner in enumerate(value):
            yield from _nested(inner, f"{name}/{i}")
    elif is_list and value and not any(isinstance(inner, str | bool) for inner in value):
        yield name, np.asarray(value)
    else:
        yield name, _leaf(value)


def _table(content: BytesIO, delimiter: str = ",") -> Items:
    rows = csv.reader(io.TextIOWrapper(content, "utf-8", newline=""), delimiter=delimiter)
    columns = list(zip_longest(*rows, fillvalue=""))
    header = [column[0] for column in columns]
    yield "header", "\n".join(header)
    for i, (name, *cells) in enumerate(columns):  # a table without names has its first row there, perhaps a value twice
        yield f"{name} in column {i}" if name in header[:i] else name, "\n".join(cells)


def _picture(content: BytesIO) -> Items:
    with Image.open(content) as picture:
        yield "pixels", np.asarray(picture)
        yield "mode", picture.mode


def _tiff(content: BytesIO) -> Items:
    with tifffile.TiffFile(content) as file:
        for i, series in enumerate(file.series):
            for j, level in enumerate(series.levels):
                yield f"series {i} level {j}", level.asarray()
        for i, page in enumerate(file.pages):
            for tag in page.tags if isinstance(page, tifffile.TiffPage) else ():  # a frame has its series' tags
                if not tag.name.endswith(("Offsets", "ByteCounts")) and tag.name != "SubIFDs":
                    yield f"page {i} {tag.name}", repr(tag.value)


def _nifti(content: BytesIO) -> Items:
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(content.read()))
    yield "voxels", np.asarray(image.dataobj)
    yield "affine", image.affine
    yield from ((f"header {name}", np.asarray(image.header[name])) for name in image.header)


def _safetensors(content: BytesIO) -> Items:
    header = json.loads(content.read(int.from_bytes(content.read(8), "little")))  # type, shape and place of tensors
    yield from _nested(header, "header")
    yield from ((name, _leaf(tensor)) for name, tensor in safetensors.torch.load(content.getvalue()).items())


def _torchscript(content: BytesIO) -> Items:
    """Weights, the metadata inside, and answers to one input; the code inside names modules, which may move."""
    files = {"metadata.json": ""}
    module = torch.jit.load(content, map_location="cpu", _extra_files=files)
    metadata = json.loads(files["metadata.json"])
    yield from _nested(metadata, "metadata.json")
    yield from ((name, _leaf(tensor)) for name, tensor in module.state_dict().items())
    width = metadata["network_data_format"]["inputs"]["image"]["num_channels"]
    tokens = torch.randn(2, width, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        yield "forward", _leaf(module(tokens))
        if any(name.startswith("head.") for name in module.state_dict()):
            yield "project", _leaf(module.project(tokens))


def _zip(content: BytesIO) -> Items:
    with zipfile.ZipFile(content) as archive:
        for entry in archive.infolist():
            yield f"{entry.filename}#mode", oct(entry.external_attr >> 16)
            inner = items_of(entry.filename, archive.read(entry))
            yield from ((f"{entry.filename}: {name}", item) for name, item in inner)


def _events(content: BytesIO) -> Items:
    """TensorBoard's values by tag and step; when they were written is left out."""
    from tensorboard.compat.proto.event_pb2 import Event

    counts: Counter[str] = Counter()
    while length := int.from_bytes(content.read(8), "little"):  # and its checksum (4), the record, its checksum (4)
        event = Event.FromString(content.read(4 + length + 4)[4:-4])
        for value in event.summary.value:
            name = f"{value.tag} at {event.step}"
            counts[name] += 1
            yield name if counts[name] == 1 else f"{name} again {counts[name]}", _summary(value)


def _summary(value: Any) -> Item:
    if value.HasField("simple_value"):
        return repr(value.simple_value)
    if value.HasField("image"):
        return np.asarray(Image.open(io.BytesIO(value.image.encoded_image_string)))
    if value.metadata.plugin_data.plugin_name == "hparams":  # bytes whose order of settings is left to chance
        from google.protobuf.json_format import MessageToDict  # type: ignore[import-untyped]
        from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

        settings = MessageToDict(HParamsPluginData.FromString(value.metadata.plugin_data.content))
        return json.dumps(settings, sort_keys=True)
    return str(value)


def _text(content: BytesIO) -> Items:
    try:
        yield "text", content.getvalue().decode("utf-8")
    except UnicodeDecodeError:
        yield "sha256", hashlib.sha256(content.getvalue()).hexdigest()


def _weights(content: BytesIO) -> Items:
    return _nested(torch.load(content, map_location="cpu", weights_only=True))


_READERS: dict[str, Callable[[BytesIO], Items]] = {
    ".h5": _hdf5,
    ".npz": lambda content: iter(np.load(content, allow_pickle=False).items()),
    ".npy": lambda content: iter([("array", np.load(content, allow_pickle=False))]),
    ".png": _picture,
    ".jpg": _picture,
    ".tif": _tiff,
    ".tiff": _tiff,
    ".json": lambda content: _nested(json.load(content)),
    ".geojson": lambda content: _nested(json.load(content)),
    ".csv": _table,
    ".tsv": partial(_table, delimiter="\t"),
    ".gz": _nifti,
    ".pt": _weights,
    ".pth": _weights,
    ".ts": _torchscript,
    ".safetensors": _safetensors,
    ".zip": _zip,
}
