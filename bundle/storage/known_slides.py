"""Which file each slide id stood for in earlier runs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import h5py

from ..core import DAMAGED_FILE


class KnownSlides:
    """Call with a slide id: name and bytes of the slide's file as tokens or embeddings record them, None for no such.

    Args:
        folders: of token files or embeddings, ``<slide_id>.h5``; they need not be there.
    """

    def __init__(self, folders: Iterable[str | Path]) -> None:
        self.folders = [Path(folder) for folder in folders]

    def __call__(self, slide_id: str) -> tuple[str, int] | None:
        """Name and bytes of the file."""
        for path in (folder / f"{slide_id}.h5" for folder in self.folders):
            try:
                with h5py.File(path, "r", locking=False) as file:
                    return str(file.attrs["slide_path"]), int(file.attrs["slide_bytes"])
            except DAMAGED_FILE:  # or none, or features of another tool
                continue
        return None
