"""Token files and embeddings, read whole and compared with their checksums."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import h5py

from ...cohort import SLIDE_SUFFIXES, SlideRef, find_slides
from ...core import DAMAGED_FILE, files_below
from ...storage import TokenFile, read_embeddings
from .look import Look, side_by_side

_SUFFIXES = (".h5",)


def stored_refs(dataset_dir: str | Path) -> list[SlideRef]:
    """Token files or embeddings of a folder, or the one that is named; none where it holds slides, or neither.

    Raises:
        BundleError: two files would have one id.
    """
    root = Path(dataset_dir)
    folder = [] if not root.is_dir() else files_below(root, (*_SUFFIXES, *SLIDE_SUFFIXES), is_quiet=True)
    found = [root] if root.is_file() else folder
    if not found or any(path.suffix.lower() not in _SUFFIXES for path in found):
        return []
    return find_slides(root, suffixes=_SUFFIXES)


def look_at_stored(refs: list[SlideRef], num_workers: int) -> list[Look]:
    """A look at each file: all of it is read.

    Args:
        refs: of the files.
        num_workers: files that are read side by side.
    """
    looks = {look.ref: look for look in side_by_side((partial(_look_at, ref) for ref in refs), num_workers)}
    return [looks[ref] for ref in refs]


def _look_at(ref: SlideRef) -> Look:
    look, started = Look(ref), time.perf_counter()
    try:
        look.bytes = ref.path.stat().st_size
        look.format, look.regions, look.mpp = _read(ref.path)
    except Exception as error:  # whatever is wrong with a file is that file's problem
        look.add_problem(str(error) or type(error).__name__)
    look.seconds = time.perf_counter() - started
    return look


def _read(path: Path) -> tuple[str, int, float]:
    """What a file is, its regions, its um/px.

    Raises:
        BundleError: it is damaged, or neither tokens nor embeddings.
    """
    if _is_of_embeddings(path):
        slide = read_embeddings(path)
        return "embeddings", len(slide), float(slide.attributes.get("mpp", float("nan")))
    file = TokenFile(path)
    file.verify()
    return "tokens", len(file), file.header.mpp


def _is_of_embeddings(path: Path) -> bool:
    try:
        with h5py.File(path, "r", locking=False) as file:
            return "slide_embedding" in file
    except DAMAGED_FILE:
        return False
