"""Arrays in parts, each part in a file that is either complete or absent."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save

from ...core import BundleError, write_bytes

_log = logging.getLogger(__name__)
Arrays = dict[str, NDArray[np.float32]]


class FeatureStore:
    """Parts of region vectors in one folder.

    Args:
        folder: of the files; its name must say what the arrays depend on.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def has(self, part: int, n_rows: int) -> bool:
        """Whether a part is there, can be read, and has as many rows."""
        path = self._path(part)
        if not path.is_file():
            return False
        try:
            with safe_open(path, "np") as file:  # looks at the header, and whether the file is as long as it says
                return all(file.get_slice(name).get_shape()[0] == n_rows for name in file.keys())  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            _log.warning("%s cannot be read (%s) and is made anew", path, error)
            return False

    def read(self, part: int) -> Arrays:
        """What :meth:`write` was given, in alphabetical order of names."""
        found = load_file(self._path(part))
        return {name: found[name] for name in sorted(found)}

    def write(self, part: int, arrays: Arrays) -> None:
        """Keep a part; nobody ever sees half of it.

        Raises:
            BundleError: it cannot be written.
        """
        path = self._path(part)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_bytes(path, save({name: np.ascontiguousarray(values) for name, values in arrays.items()}))
        except OSError as error:
            raise BundleError(
                f"embeddings cannot be written to {path} ({error.strerror}): free some space, or choose another "
                "output_dir; finished parts are kept."
            ) from error

    def _path(self, part: int) -> Path:
        return self.folder / f"part_{part:05d}.safetensors"
