"""A head on disk: ``<name>.safetensors`` with its numbers, ``<name>.json`` with all that is said of it."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from ..core import BundleError, keep_aside, read_json_file, write_bytes, write_text
from .head import SCORERS, Head
from .record import HeadRecord, is_of_a_head
from .scorers import Tensors

_log = logging.getLogger(__name__)
SUFFIX = ".safetensors"


def save_head(record: HeadRecord, tensors: Tensors, path: str | Path) -> Head:
    """Write both files, each under a temporary name first. The record, which comes first, names the numbers' hash.

    A head that is there with other numbers is kept under a dated name.

    Raises:
        BundleError: they cannot be written, or the path is none for a head, see :func:`check_head_path`.
    """
    path = check_head_path(path)
    contents = save({name: np.ascontiguousarray(values) for name, values in tensors.items()})
    record = replace(record, tensors_sha256=hashlib.sha256(contents).hexdigest())
    head = Head(record, tensors, path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file() and path.read_bytes() != contents:
            _log.info("another head was there: it is kept as %s", keep_aside(path))
        write_text(path.with_suffix(".json"), json.dumps(record.as_json(), indent=1, allow_nan=False))
        write_bytes(path, contents, flush=True)
    except OSError as error:
        raise BundleError(
            f"the head cannot be written to {path} ({error.strerror}): make room, or choose another head_path."
        ) from error
    return head


def check_head_path(path: str | Path) -> Path:
    """The path of a head's numbers.

    Raises:
        BundleError: it is not called as such, or one of its two files is there and of something else.
    """
    if Path(path).suffix != SUFFIX:
        raise BundleError(f"head_path is {path}; give a name that ends in {SUFFIX}: its .json lies beside it.")
    path, beside = Path(path), Path(path).with_suffix(".json")
    if (path.exists() or beside.exists()) and not _is_of_a_head(beside):
        raise BundleError(f"head_path is {path}, but it or {beside.name} is there and no head's: give another name.")
    return path


def _is_of_a_head(path: Path) -> bool:
    try:
        return is_of_a_head(read_json_file(path))
    except (OSError, ValueError):
        return False


def load_head(path: str | Path) -> Head:
    """The head that :func:`save_head` wrote. Nothing is unpickled.

    Args:
        path: of either file.

    Raises:
        BundleError: a file is missing or damaged, or they are not of one head.
    """
    path = Path(path)
    path = path.with_suffix(SUFFIX) if path.suffix == ".json" else path
    for file in (path, path.with_suffix(".json")):
        if not file.is_file():
            raise BundleError(
                f"there is no head at {file}: have one saved by configs/evaluate.yaml (--save_head linear), and keep "
                "its two files together."
            )
    try:
        record = HeadRecord.of_json(read_json_file(path.with_suffix(".json")))
        contents = path.read_bytes()
        if hashlib.sha256(contents).hexdigest() != record.tensors_sha256:
            raise ValueError("its two files are not of one head")
        if record.protocol not in SCORERS:
            raise ValueError(f"its protocol {record.protocol!r} is not known")
        return Head(record, load(contents), path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise BundleError(
            f"the head {path} cannot be used ({error}): save it again, or copy both files again."
        ) from error
