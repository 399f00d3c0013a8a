"""One file a slide, ``<slide_id>.h5``, and ``.npz`` for scripts that want NumPy and nothing else."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from .. import __version__
from ..cohort import is_file_name
from ..core import DAMAGED_FILE, BundleError, parsed_json, plain_value, write_bytes
from .checksums import HEADER, damaged_header, header_checksum, is_finite
from .embedding_record import SlideEmbeddings
from .hdf5 import insist_on_size, own_dataset

EMBEDDING_SUFFIX = ".h5"
_FORMAT = 1
_KIND = "slide_embeddings"
_REQUIRED = ("features", "projection", "coords", "mask", "slide_embedding", "prototypes", "assignment")
_ARRAYS = (*_REQUIRED, "attention")
_CHECKSUMS = "array_checksums"
_ANEW = "Remove the file and run inference again."


def write_embeddings(slide: SlideEmbeddings, path: str | Path) -> None:
    """Write a slide under a temporary name, flush it to disk, rename it.

    ``features`` and ``coords`` are the names that the scripts of CLAM and TRIDENT look for.

    Raises:
        BundleError: the file cannot be written; nothing of it remains.
    """
    with _told(Path(path)):
        write_bytes(path, _file_contents(slide), flush=True)


def write_npz(slide: SlideEmbeddings, path: str | Path) -> None:
    """Write the arrays under their names, and ``attributes``: a JSON text. It loads without ``allow_pickle``.

    Raises:
        BundleError: the file cannot be written; nothing of it remains.
    """
    found = {name: getattr(slide, name) for name in _ARRAYS}
    attributes = {**slide.attributes, "slide_id": slide.slide_id, "bundle_version": __version__}
    arrays = {name: values for name, values in found.items() if values is not None}
    arrays["attributes"] = np.array(json.dumps(attributes, sort_keys=True))
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)
    with _told(Path(path)):
        write_bytes(path, packed.getvalue())


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """A folder to write to; what goes wrong there, said to the user."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except (OSError, RuntimeError) as error:
        raise BundleError(
            f"embeddings cannot be written to {path} ({error}): make room, or choose another output_dir; finished "
            "slides are kept."
        ) from error


def _file_contents(slide: SlideEmbeddings) -> bytes:
    """The file, made in memory: HDF5 does not recover from a full disk and would crash when the process ends."""
    with h5py.File(slide.slide_id, "w", driver="core", backing_store=False) as file:
        checksums = {}
        for name in _ARRAYS:
            values = getattr(slide, name)
            if values is not None:
                squeezes = name in ("mask", "attention") and values.size
                file.create_dataset(name, data=values, compression="gzip" if squeezes else None)
                checksums[name] = header_checksum({}, np.asarray(values))
        own = {"kind": _KIND, "embeddings_version": _FORMAT, "bundle_version": __version__}
        own[_CHECKSUMS] = json.dumps(checksums)
        file.attrs.update({**slide.attributes, **own, "slide_id": slide.slide_id})
        recorded = {name: plain_value(value) for name, value in file.attrs.items()}
        file.attrs[HEADER] = np.uint32(header_checksum(recorded))
        file.flush()
        return file.id.get_file_image()


def read_embeddings(path: str | Path, *, attention: bool = True) -> SlideEmbeddings:
    """The slide that :func:`write_embeddings` wrote, each array compared with its checksum where the file has them.

    Args:
        path: the file.
        attention: False leaves attention out, nearly half of the time of reading.

    Raises:
        BundleError: the file is missing, damaged, or none of this kind.
    """
    path = Path(path)
    with _opened(path) as (file, attributes, checksums):
        arrays = {}
        for name in _ARRAYS if attention else _REQUIRED:
            if name in file:
                arrays[name] = _read_array(file, name, path, checksums.get(name))
        _insist_on_shapes(arrays, path)
    return SlideEmbeddings(slide_id=str(attributes.pop("slide_id")), attributes=attributes, **arrays)


def _read_array(file: h5py.File, name: str, path: Path, checksum: int | None) -> NDArray[Any]:
    """One array, which must be what was written and finite."""
    dataset = own_dataset(file, name, path, "biuf")
    insist_on_size(path, name, dataset.shape, dataset.dtype.itemsize)
    values = np.asarray(dataset[()])
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    if checksum is not None and header_checksum({}, values) != checksum:
        raise BundleError(f"{path} is damaged: its {name} is not what was written (the checksum differs). {_ANEW}")
    if values.dtype.kind == "f" and not is_finite(values):
        raise BundleError(f"{path} holds NaN or infinite values in its {name}. {_ANEW}")
    return values


def _insist_on_shapes(arrays: dict[str, NDArray[Any]], path: Path) -> None:
    """Arrays fit one another, as those that were written do.

    Raises:
        BundleError: they do not, or an assignment is to no prototype.
    """
    shapes = {name: values.shape for name, values in arrays.items()}
    n_regions, dim, n_prototypes = shapes["features"][:1], shapes["slide_embedding"], shapes["prototypes"][:1]
    side, wide = shapes["mask"][-1:] * 2, shapes["prototypes"][1:]
    expected = {
        **{"features": n_regions + dim, "projection": n_regions + wide, "coords": (*n_regions, 2)},
        **{"mask": n_regions + side, "assignment": n_regions, "prototypes": n_prototypes + wide},
    }
    if "attention" in shapes:
        expected["attention"] = n_regions + shapes["attention"][1:2] + side
    n_axes = [len(n_regions), len(dim), len(n_prototypes), len(wide)]
    wrong = [name for name, shape in expected.items() if shapes[name] != shape] if n_axes == [1] * 4 else list(shapes)
    if wrong:
        told = ", ".join(f"{name} {list(shapes[name])}" for name in shapes)
        raise BundleError(f"{path} holds arrays that do not fit one another ({told}): see {wrong[0]}. {_ANEW}")
    assignment = arrays["assignment"]
    if assignment.size and not (
        assignment.dtype.kind in "iu" and -1 <= assignment.min() <= assignment.max() < n_prototypes[0]
    ):
        raise BundleError(f"{path} assigns regions to prototypes that it does not have. {_ANEW}")


def read_embeddings_header(path: str | Path) -> dict[str, Any]:
    """What a file records beside its arrays, ``slide_id`` included; quick, for looking through a folder.

    Raises:
        BundleError: as :func:`read_embeddings`.
    """
    with _opened(Path(path)) as (_, attributes, _):
        return attributes


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[h5py.File, dict[str, Any], dict[str, int]]]:
    """The file, open to read, its attributes, and the checksums of its arrays; none in a file of before."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            attributes = _attributes(file, path)
            stored, found = attributes.pop(HEADER, None), header_checksum(attributes)
            checksums = attributes.pop(_CHECKSUMS, None)
            if stored != found and not (stored is None and checksums is None):  # neither: a file of before
                raise damaged_header(path, _ANEW)
            yield file, attributes, dict(parsed_json(checksums or "{}"))
    except DAMAGED_FILE as error:
        raise BundleError(f"embeddings {path} cannot be read ({error}). {_ANEW}") from error


def _attributes(file: h5py.File, path: Path) -> dict[str, Any]:
    attributes = {name: plain_value(value) for name, value in file.attrs.items()}
    missing = [name for name in _REQUIRED if name not in file]
    if attributes.get("kind") != _KIND or missing:
        lacks = f" (it lacks {', '.join(missing)})" if missing else ""
        raise BundleError(f"{path} holds no slide embeddings{lacks}; give files that configs/inference.yaml wrote.")
    if not is_file_name(str(attributes.get("slide_id", ""))):
        raise BundleError(
            f"{path} calls its slide {attributes.get('slide_id')!r}, which cannot name a file; it is refused."
        )
    if int(attributes["embeddings_version"]) > _FORMAT:
        raise BundleError(
            f"{path} has embeddings version {attributes['embeddings_version']}; this version of the bundle reads up to "
            f"{_FORMAT}. Update the bundle."
        )
    return attributes
