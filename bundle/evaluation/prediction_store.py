"""Predictions that are finished, so that a killed evaluation goes on where it was."""

from __future__ import annotations

import hashlib
import io
import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core import write_bytes

_log = logging.getLogger(__name__)


class PredictionStore:
    """Scores by a hash of everything that they depend on.

    Args:
        folder: of the files.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def key(self, *what: Any) -> str:
        """Hash of words, numbers and arrays; two lists of the same contents have the same."""
        digest = hashlib.sha256()
        for part in what:
            if isinstance(part, np.ndarray):
                digest.update(f"{part.shape} {part.dtype.str}".encode() + np.ascontiguousarray(part).tobytes())
            else:
                digest.update(repr(part).encode() + b"\0")
        return digest.hexdigest()[:24]

    def get(self, key: str) -> NDArray[np.float64] | None:
        """The scores under a key, or None where there are none that can be read."""
        path = self.folder / f"{key}.npy"
        if not path.is_file():
            return None
        try:
            return np.load(path)
        except Exception as error:  # NumPy reads headers as Python's literals, which fail in many ways
            _log.warning("%s cannot be read (%s) and is made anew", path, error)
            return None

    def put(self, key: str, scores: NDArray[np.float64]) -> None:
        """Keep scores; where that fails (a full disk) the run goes on without."""
        contents = io.BytesIO()
        np.save(contents, scores)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_bytes(self.folder / f"{key}.npy", contents.getvalue())
        except OSError as error:
            _log.warning("predictions are not kept: %s", error)
