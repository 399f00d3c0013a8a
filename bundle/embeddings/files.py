"""Which embedding files there are."""

from __future__ import annotations

from pathlib import Path

from ..cohort import BundleError
from .store import EMBEDDING_SUFFIX


def find_embeddings(dataset_dir: str | Path) -> list[Path]:
    """All embedding files below a folder, sorted by path; a single file is allowed. None is opened.

    Raises:
        BundleError: there is no such folder, or no such file in it.
    """
    root = Path(dataset_dir)
    if root.is_file():
        return [root]
    if not root.is_dir():
        raise BundleError(
            f"{root} does not exist: give the folder that configs/inference.yaml wrote, or one of its files."
        )
    found = sorted(p for p in root.rglob(f"*{EMBEDDING_SUFFIX}") if p.is_file() and not p.name.startswith("."))
    if not found:
        raise BundleError(
            f"no {EMBEDDING_SUFFIX} file in {root}: run configs/inference.yaml first, or give its output_dir."
        )
    return found
