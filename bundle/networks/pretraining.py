"""What weights were trained on: a small file beside them, so that evaluation and inference can tell."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core import BundleError, read_json_file, write_text
from .weights_reading import sha256_of

_log = logging.getLogger(__name__)


def pretraining_file(weights: str | Path) -> Path:
    """``models/model.json`` for ``models/model.pt``."""
    return Path(weights).with_suffix(".json")


def write_pretraining(
    weights: str | Path, slides: Sequence[str] | None, about: Mapping[str, Any] | None = None
) -> Path:
    """Note the slides that weights were trained on, and whose weights it is that the note belongs to.

    Args:
        weights: a finished file.
        slides: slide ids; None where they are not to be told, as they may tell of patients.
        about: what shapes do not tell and users of the weights need to know: ``n_heads``; of the tokens,
            ``patch_encoder`` (name and SHA-256), ``mpp``, ``encode_background`` and ``center_tokens``. What is None is
            not noted.

    Raises:
        BundleError: it cannot be written.
    """
    path = pretraining_file(weights)
    record = {
        "weights_sha256": sha256_of(weights),
        **{name: value for name, value in (about or {}).items() if value is not None},
        "slides": None if slides is None else sorted(slides),
    }
    try:
        write_text(path, json.dumps(record, indent=1) + "\n")
    except OSError as error:
        raise BundleError(f"{path} cannot be written ({error.strerror}): free some space and export again.") from error
    return path


def read_pretraining(weights: str | Path) -> list[str] | None:
    """Slides that weights were trained on; None where they are not known: no file, one of other weights, not told."""
    return (_record(weights) or {}).get("slides")


def read_about(weights: str | Path) -> dict[str, Any]:
    """What :func:`write_pretraining` was told about the weights; empty where nothing is known."""
    record = _record(weights) or {}
    return {name: value for name, value in record.items() if name not in ("slides", "weights_sha256")}


def _record(weights: str | Path) -> dict[str, Any] | None:
    path = pretraining_file(weights)
    if not path.is_file():
        return None
    try:
        record = read_json_file(path)
        if record["slides"] is not None:
            record["slides"] = [str(slide) for slide in record["slides"]]
        is_of_these = record["weights_sha256"] == sha256_of(weights)
    except (OSError, ValueError, KeyError, TypeError) as error:
        _log.warning("%s is no list of pre-training slides (%s)", path, error)
        return None
    if not is_of_these:
        _log.warning("%s belongs to other weights than %s and is not used", path, Path(weights).name)
        return None
    return record
