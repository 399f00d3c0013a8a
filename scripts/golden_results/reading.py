"""A file of results as named items: what it says, apart from how its container was written."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

import h5py
import nibabel
import numpy as np
import tifffile
import torch
from numpy.typing import NDArray
from PIL import Image

Item = NDArray[Any] | str
Items = dict[str, Item]


def items_of(name: str, content: bytes) -> Items:
    """Everything a file says, by name: arrays, and all else as text.

    Args:
        name: the file's path; its ending tells the kind. Kinds without a reader are text, or else known by their hash.
        content: the file.

    Raises:
        ValueError: the file is not what its name says.
    """
    try:
        return dict(_reader(PurePosixPath(name))(content))
    except Exception as error:  # each library has its own kinds
        raise ValueError(f"{name} cannot be read ({type(error).__name__}: {error}).") from error


def _reader(path: PurePosixPath) -> Callable[[bytes], Iterator[tuple[str, Item]]]:
    if path.name.startswith("events.out.tfevents"):
        return _events
    return _READERS.get(path.suffix.lower(), _text)


def _hdf5(content: bytes) -> Iterator[tuple[str, Item]]:
    with h5py.File(io.BytesIO(content)) as file:
        found: list[Any] = [file]
        file.visititems(lambda _, entry: found.append(entry))
        for entry in found:
            if isinstance(entry, h5py.Dataset):
                yield entry.name, np.asarray(entry[()])
                yield f"{entry.name}#storage", f"{entry.dtype} chunks {entry.chunks} {entry.compression}"
            for name, value in entry.attrs.items():
                yield f"{entry.name}@{name}", _leaf(value)


def _leaf(value: Any) -> Item:
    """Arrays and tensors as arrays; floats with all digits, and everything with its kind, as text."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        return value.view(torch.int16).numpy() if value.dtype == torch.bfloat16 else value.numpy()
    return np.asarray(value) if isinstance(value, np.ndarray | np.generic) else repr(value)


def _nested(value: Any, name: str = "") -> Iterator[tuple[str, Item]]:
    if isinstance(value, Mapping):
        yield f"{name}/", "keys " + repr([str(key) for key in value])
        for key, inner in value.items():
            yield from _nested(inner, f"{name}/{key}")
    elif isinstance(value, list | tuple) and not all(isinstance(inner, int | float | str) for inner in value):
        yield f"{name}/", f"{len(value)} entries"
        for i, inner in enumerate(value):
            yield from _nested(inner, f"{name}/{i}")
    elif isinstance(value, list | tuple) and value and not any(isinstance(inner, str | bool) for inner in value):
        yield name, np.asarray(value)
    else:
        yield name, _leaf(value)


def _json(content: bytes) -> Iterator[tuple[str, Item]]:
    return _nested(json.loads(content))


def _table(delimiter: str) -> Callable[[bytes], Iterator[tuple[str, Item]]]:
    def read(content: bytes) -> Iterator[tuple[str, Item]]:
        rows = list(csv.reader(io.StringIO(content.decode("utf-8"), newline=""), delimiter=delimiter))
        header = rows[0] if rows else []
        yield "header", "\n".join(header)
        for i, name in enumerate(header):  # a table without names has its first row there, perhaps one value twice
            yield (
                name if name not in header[:i] else f"{name} in column {i}",
                "\n".join(row[i] if i < len(row) else "" for row in rows[1:]),
            )

    return read


def _numpy(content: bytes) -> Iterator[tuple[str, Item]]:
    loaded = np.load(io.BytesIO(content), allow_pickle=False)
    yield from loaded.items() if isinstance(loaded, Mapping) else [("array", loaded)]


def _picture(content: bytes) -> Iterator[tuple[str, Item]]:
    with Image.open(io.BytesIO(content)) as picture:
        yield "pixels", np.asarray(picture)
        yield "mode", picture.mode


def _tiff(content: bytes) -> Iterator[tuple[str, Item]]:
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        for i, series in enumerate(file.series):
            for j, level in enumerate(series.levels):
                yield f"series {i} level {j}", level.asarray()
        for i, page in enumerate(file.pages):
            for tag in page.tags if isinstance(page, tifffile.TiffPage) else ():  # a frame has its series' tags
                if not tag.name.endswith(("Offsets", "ByteCounts")) and tag.name != "SubIFDs":
                    yield f"page {i} {tag.name}", repr(tag.value)


def _nifti(content: bytes) -> Iterator[tuple[str, Item]]:
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(content))
    yield "voxels", np.asarray(image.dataobj)
    yield "affine", image.affine
    for name in image.header:
        yield f"header {name}", np.asarray(image.header[name])


def _weights(content: bytes) -> Iterator[tuple[str, Item]]:
    return _nested(torch.load(io.BytesIO(content), map_location="cpu", weights_only=True))


def _safetensors(content: bytes) -> Iterator[tuple[str, Item]]:
    """The header, which names type, shape and place of each tensor, and the tensors as bytes of their type."""
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    yield from _nested(header.pop("__metadata__", {}), "__metadata__")
    types = {
        "F64": "f8",
        "F32": "f4",
        "F16": "f2",
        "I64": "i8",
        "I32": "i4",
        "I16": "i2",
        "I8": "i1",
        "U8": "u1",
        "BOOL": "?",
    }
    for name, entry in header.items():
        first, last = (start + offset for offset in entry["data_offsets"])
        yield (
            name,
            np.frombuffer(content[first:last], types.get(entry["dtype"], "u1")).reshape(
                entry["shape"] if entry["dtype"] in types else -1
            ),
        )


def _torchscript(content: bytes) -> Iterator[tuple[str, Item]]:
    """Weights, the metadata inside, and answers to one input; the code inside names modules, which may move."""
    files = {"metadata.json": ""}
    module = torch.jit.load(io.BytesIO(content), map_location="cpu", _extra_files=files)
    metadata = json.loads(files["metadata.json"])
    yield from _nested(metadata, "metadata.json")
    yield from ((name, _leaf(tensor)) for name, tensor in module.state_dict().items())
    width = metadata["network_data_format"]["inputs"]["image"]["num_channels"]
    tokens = torch.randn(2, width, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        yield "forward", _leaf(module(tokens))
        yield "project", _leaf(module.project(tokens))


def _zip(content: bytes) -> Iterator[tuple[str, Item]]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for entry in archive.infolist():
            inner = archive.read(entry)
            yield f"{entry.filename}#mode", oct(entry.external_attr >> 16)
            yield from ((f"{entry.filename}: {name}", item) for name, item in items_of(entry.filename, inner).items())


def _events(content: bytes) -> Iterator[tuple[str, Item]]:
    """TensorBoard's values by tag and step; when they were written is left out."""
    from tensorboard.compat.proto.event_pb2 import Event

    counts: dict[str, int] = {}
    for record in _records(content):
        event = Event.FromString(record)
        for value in event.summary.value:
            name = f"{value.tag} at {event.step}"
            counts[name] = counts.get(name, 0) + 1
            yield name if counts[name] == 1 else f"{name} again {counts[name]}", _summary(value)


def _records(content: bytes) -> Iterator[bytes]:
    """TFRecord: length (8 bytes), its checksum (4), the record, its checksum (4)."""
    place = 0
    while place < len(content):
        length = int.from_bytes(content[place : place + 8], "little")
        yield content[place + 12 : place + 12 + length]
        place += 16 + length


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


def _text(content: bytes) -> Iterator[tuple[str, Item]]:
    try:
        yield "text", content.decode("utf-8")
    except UnicodeDecodeError:
        yield "sha256", hashlib.sha256(content).hexdigest()


_READERS = {
    ".h5": _hdf5, ".npz": _numpy, ".npy": _numpy, ".png": _picture, ".jpg": _picture, ".tif": _tiff, ".tiff": _tiff,
    ".json": _json, ".geojson": _json, ".csv": _table(","), ".tsv": _table("\t"), ".gz": _nifti, ".pt": _weights,
    ".pth": _weights, ".ts": _torchscript, ".safetensors": _safetensors, ".zip": _zip,
}  # fmt: skip
