"""Which slides weights have seen: a small file beside them, so that evaluations can tell."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from ..cohort import BundleError, write_text
from .reading import sha256_of

_log = logging.getLogger(__name__)


def pretraining_file(weights: str | Path) -> Path:
    """``models/model.json`` for ``models/model.pt``."""
    return Path(weights).with_suffix(".json")


def write_pretraining(weights: str | Path, slides: Sequence[str]) -> Path:
    """Note the slides that weights were trained on, and whose weights it is that the note belongs to.

    Args:
        weights: a finished file.
        slides: slide ids.

    Raises:
        BundleError: it cannot be written.
    """
    path = pretraining_file(weights)
    record = {"weights_sha256": sha256_of(weights), "slides": sorted(slides)}
    try:
        write_text(path, json.dumps(record, indent=1) + "\n")
    except OSError as error:
        raise BundleError(f"{path} cannot be written ({error.strerror}): free some space and export again.") from error
    return path


def read_pretraining(weights: str | Path) -> list[str] | None:
    """Slides that weights were trained on; None where nothing is known: no such file, or one of other weights."""
    path = pretraining_file(weights)
    if not path.is_file():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        slides = [str(slide) for slide in record["slides"]]
        is_of_these = record["weights_sha256"] == sha256_of(weights)
    except (OSError, ValueError, KeyError, TypeError) as error:
        _log.warning("%s is no list of pre-training slides (%s)", path, error)
        return None
    if not is_of_these:
        _log.warning("%s belongs to other weights than %s and is not used", path, Path(weights).name)
        return None
    return slides
