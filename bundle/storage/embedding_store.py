"""One HDF5 file a slide, ``<slide_id>.h5``: a file that has its name is complete."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py

from .. import __version__
from ..cohort import is_file_name
from ..core import DAMAGED_FILE, BundleError, plain_value, write_bytes
from .embedding_record import SlideEmbeddings

EMBEDDING_SUFFIX = ".h5"
_FORMAT = 1
_KIND = "slide_embeddings"
_REQUIRED = ("features", "projection", "coords", "mask", "slide_embedding", "prototypes", "assignment")


def write_embeddings(slide: SlideEmbeddings, path: str | Path) -> None:
    """Write a slide under a temporary name, flush it to disk, rename it.

    ``features`` and ``coords`` are the names that the scripts of CLAM and TRIDENT look for.

    Raises:
        BundleError: the file cannot be written; nothing of it remains.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, _file_contents(slide), flush=True)
    except (OSError, RuntimeError) as error:
        raise BundleError(
            f"embeddings cannot be written to {path} ({error}): make room, or choose another output_dir; finished "
            "slides are kept."
        ) from error


def _file_contents(slide: SlideEmbeddings) -> bytes:
    """The file, made in memory: HDF5 does not recover from a full disk and would crash when the process ends."""
    with h5py.File(slide.slide_id, "w", driver="core", backing_store=False) as file:
        for name in (*_REQUIRED, "attention"):
            values = getattr(slide, name)
            if values is not None:
                squeezes = name in ("mask", "attention") and values.size
                file.create_dataset(name, data=values, compression="gzip" if squeezes else None)
        own = {"kind": _KIND, "embeddings_version": _FORMAT, "bundle_version": __version__}
        file.attrs.update({**slide.attributes, **own, "slide_id": slide.slide_id})
        file.flush()
        return file.id.get_file_image()


def read_embeddings(path: str | Path, *, attention: bool = True) -> SlideEmbeddings:
    """The slide that :func:`write_embeddings` wrote.

    Args:
        path: the file.
        attention: False leaves attention out, nearly half of the time of reading.

    Raises:
        BundleError: the file is missing, damaged, or none of this kind.
    """
    path = Path(path)
    wanted = (*_REQUIRED, "attention") if attention else _REQUIRED
    try:
        with h5py.File(path, "r", locking=False) as file:
            attributes = _attributes(file, path)
            arrays = {name: file[name][:] for name in wanted if name in file}
    except DAMAGED_FILE as error:
        raise BundleError(
            f"embeddings {path} cannot be read ({error}); remove the file and run inference again."
        ) from error
    return SlideEmbeddings(slide_id=str(attributes.pop("slide_id")), attributes=attributes, **arrays)


def read_embeddings_header(path: str | Path) -> dict[str, Any]:
    """What a file records beside its arrays, ``slide_id`` included; quick, for looking through a folder.

    Raises:
        BundleError: as :func:`read_embeddings`.
    """
    path = Path(path)
    try:
        with h5py.File(path, "r", locking=False) as file:
            return _attributes(file, path)
    except DAMAGED_FILE as error:
        raise BundleError(
            f"embeddings {path} cannot be read ({error}); remove the file and run inference again."
        ) from error


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
