"""Many token files as one: which there are, whether they belong together, their regions numbered through."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..cohort import SlideRef, without_excluded
from ..core import BundleError, Progress, contract_difference, encoder_key, files_below
from .manifest import Manifest
from .token_header import TokenHeader
from .token_store import TokenFile, read_token_header

logger = logging.getLogger(__name__)
_MAX_OPEN_FILES = 128
_MANY = 1000  # files: opening them takes a second
_PROGRESS_AFTER = 5.0  # seconds


def find_token_files(dataset_dir: str | Path | Sequence[str | Path]) -> list[Path]:
    """Token files of a folder (searched in depth, sorted), or the files that were named; unfinished ones are ignored.

    Raises:
        BundleError: no such folder or file, or no token file in it.
    """
    if not isinstance(dataset_dir, str | Path):
        return [path for entry in dataset_dir for path in find_token_files(entry)]
    root = Path(dataset_dir)
    if root.is_file():
        return [root]
    if not root.is_dir():
        raise BundleError(f"the folder of token files {root} does not exist; make it with configs/tokenize.yaml.")
    files = [path for path in files_below(root, (".h5",)) if path.suffix == ".h5"]
    if not files:
        found = sorted(path.name for path in root.iterdir())[:5]
        raise BundleError(
            f"no token file (.h5) in {root}; found {', '.join(found) or 'nothing'}. "
            "Token files are made from slides with configs/tokenize.yaml; features of other tools may be given, too "
            "(docs/importing.md)."
        )
    return files


def without_listed(paths: Sequence[Path], exclude: str | Path | None, base: str | Path) -> list[Path]:
    """Files of slides that a list does not name, see :func:`bundle.cohort.without_excluded`; None: all.

    Args:
        paths: token files or embeddings, ``<slide_id>.h5``.
        exclude: the list.
        base: the folder from which paths in it count.

    Raises:
        BundleError: the list cannot be read, or leaves nothing.
    """
    if exclude is None:
        return list(paths)
    refs = [SlideRef(path.stem, path, path.name) for path in paths]
    return [ref.path for ref in without_excluded(refs, exclude, Path(base))]


def token_width(dataset_dir: str | Path | Sequence[str | Path], default: int) -> int:
    """Length D of the tokens in a folder; ``default`` where there are none, or none that can be read."""
    try:
        paths = find_token_files(dataset_dir)
    except BundleError:
        return default
    for path in paths:
        with contextlib.suppress(BundleError):  # the data set will say what is wrong with it
            return read_token_header(path).dim
    return default


def manifest_of(dataset_dir: str | Path | Sequence[str | Path], found: Sequence[Path], verify: str) -> Manifest | None:
    """What is known of the many files of one folder; None for few, or where ``verify`` asks for another look at each.

    Args:
        dataset_dir: see :func:`find_token_files`.
        found: its answer.
        verify: see :class:`TokenFile`.
    """
    is_folder = isinstance(dataset_dir, str | Path) and Path(dataset_dir).is_dir()
    if not is_folder or verify != "first" or len(found) < _MANY:
        return None
    return Manifest(Path(dataset_dir), found)  # type: ignore[arg-type]


def open_token_files(
    paths: Sequence[Path], is_centered: bool = False, verify: str = "first", manifest: Manifest | None = None
) -> list[TokenFile]:
    """Open what can be read; warn about the rest.

    Args:
        paths: of the files.
        is_centered: see :class:`TokenFile`; every file is read once for its center, here and not in each worker.
        verify: see :class:`TokenFile`.
        manifest: knows files that need not be opened, and is brought up to date; None: all are opened.

    Raises:
        BundleError: nothing can be read.
    """
    files: list[TokenFile] = []
    problems: list[str] = []
    for path in Progress(paths, desc="opening token files", delay=_PROGRESS_AFTER, leave=False):
        try:
            known = None if manifest is None else manifest.layout(path)
            file = TokenFile(path, is_centered, verify, known)
            if manifest is not None and known is None:
                manifest.note(path, file.layout)
            if is_centered:
                _ = file.center
            files.append(file)
        except BundleError as error:
            problems.append(str(error))
            logger.warning("left out: %s", error)
    if manifest is not None:
        manifest.save()
    if not files:
        raise BundleError(
            f"none of {len(problems)} token files can be read; the first: {problems[0]} Features of other tools may be "
            "given, too, in the layouts of docs/importing.md."
        )
    return files


def choose_slides(files: Sequence[TokenFile], slides: Iterable[str]) -> list[TokenFile]:
    """The files of the slide ids that are asked for.

    Raises:
        BundleError: a slide has no file.
    """
    wanted = set(slides)
    unknown = sorted(wanted - {file.header.slide_id for file in files})
    if unknown or not wanted:
        raise BundleError(
            f"no token file for {len(unknown)} of {len(wanted)} slides asked for: {', '.join(unknown[:5])}."
        )
    return [file for file in files if file.header.slide_id in wanted]


def check_alike(headers: Sequence[TokenHeader]) -> None:
    """Files of one data set agree in what a token is, and no slide comes twice.

    Raises:
        BundleError: two files differ; both are named.
    """
    first, seen = headers[0], {headers[0].slide_id: headers[0]}
    for other in headers[1:]:
        for name, a, b in (
            ("token length", first.dim, other.dim),
            ("patches on a region's side", first.region_patches, other.region_patches),
            ("mpp", first.mpp, other.mpp),
            ("encoder", encoder_key(first.encoder), encoder_key(other.encoder)),
        ):
            if a != b:
                a, b = (first.encoder, other.encoder) if name == "encoder" else (a, b)
                raise BundleError(
                    f"token files do not belong together: {name} is {a} in {first.path} and {b} in {other.path}. "
                    "Keep each kind in a folder of its own."
                )
        if (differs := contract_difference(first.attributes, other.attributes)) is not None:
            raise BundleError(
                "token files do not belong together, though one encoder made them: its pixels were prepared with "
                f"{differs[0]} in {first.path} and with {differs[1]} in {other.path}. Keep each kind in a folder of "
                "its own."
            )
        if other.slide_id in seen:
            raise BundleError(
                f"slide {other.slide_id} has two token files: {seen[other.slide_id].path} and {other.path}."
            )
        seen[other.slide_id] = other


class RegionReader:
    """Reads regions by their number over all files; threads may share it, and forked or spawned workers get their own.

    Args:
        files: their regions are numbered through.
    """

    def __init__(self, files: Sequence[TokenFile]) -> None:
        self.files = list(files)
        counts = [len(file) for file in files]
        self._first = np.concatenate([[0], np.cumsum(counts)])
        self._slide_of = np.repeat(np.arange(len(counts)), counts)

    def read_into(self, indices: NDArray[np.int64], out: NDArray[Any], rows: NDArray[np.int64]) -> None:
        """Copy regions ``indices`` to ``out[rows]``, file by file and in the order in which they lie on disk.

        Those that are not in memory are all requested before the first is waited for, so that the disk, or the server
        behind it, works on many at a time: 1.2 times as many regions a second from a local disk (``scripts/benchmark
        store``).

        Raises:
            BundleError: a file has gone, was replaced, or ends early.
        """
        order = np.argsort(indices, kind="stable")
        indices, rows = indices[order], rows[order]
        slides = self._slide_of[indices]
        regions, places = (indices - self._first[slides]).tolist(), rows.tolist()
        starts = np.flatnonzero(np.diff(slides, prepend=-1)).tolist()
        parts = [
            (int(slides[start]), slice(start, stop))
            for start, stop in zip(starts, [*starts[1:], len(regions)], strict=True)
        ]
        handles = [self._handle(slide) for slide, _ in parts]
        for (slide, part), handle in zip(parts, handles, strict=True):
            self.files[slide].request(regions[part], handle)
        for (slide, part), handle in zip(parts, handles, strict=True):
            self.files[slide].read_into(regions[part], out, places[part], handle)

    @cached_property
    def _handle(self) -> Any:
        """A file's handle, of those used last; a thread that still reads an evicted one keeps it alive."""
        return lru_cache(maxsize=_MAX_OPEN_FILES)(lambda slide: self.files[slide].open())

    def __getstate__(self) -> dict[str, Any]:
        """Open files stay behind when the reader is sent to a spawned worker."""
        return {name: value for name, value in self.__dict__.items() if name != "_handle"}
