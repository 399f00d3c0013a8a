"""Bringing an index up to date with a folder of embedding files."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ...cohort import SlideTable
from ...core import BundleError, Progress, as_bool, as_whole, own_rank, writer_lock
from ...storage import SlideEmbeddings, find_embeddings, read_embeddings
from .catalog import Entry
from .index import SearchIndex

_SLIDES_AT_ONCE = 1000, 16_000  # at least, at most
_SHARE_AT_ONCE = 16  # of a large index, whose table of contents is written each time
_FEW_NAMES = 5
_log = logging.getLogger(__name__)


@dataclass
class IndexUpdate:
    """What an update did: ids of slides ``added``, ``replaced`` (their file has changed), ``missing`` (in the index,
    but without a file) and ``removed``; ``failed`` ones with the reason; how many were ``unchanged`` or have new values
    in the slide table (``retabled``)."""

    added: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    unchanged: int = 0
    retabled: int = 0

    def __str__(self) -> str:
        counts = [f"{len(self.added)} added", f"{len(self.replaced)} replaced", f"{self.unchanged} unchanged"]
        counts += [f"{self.retabled} with new values of the slide table"] * bool(self.retabled)
        counts += [f"{len(self.removed)} removed: {_names(self.removed)}"] * bool(self.removed)
        if self.missing:
            kept = "without a file, still searchable (--prune true removes them)"
            counts.append(f"{len(self.missing)} {kept}: {_names(self.missing)}")
        lines = [", ".join(counts)]
        lines += [f"  {name} not indexed: {reason}" for name, reason in self.failed.items()]
        return "\n".join(lines)


class Indexer:
    """Adds the embedding files of a folder to an index; slides that are there already are not read again.

    Args:
        dataset_dir: folder of embedding files, searched in depth, or one file.
        index_dir: folder of the index; made where it is missing.
        table: what is known of the slides, for filters and results.
        regions: whether a new index shall hold single regions (0.4 kB each).
        n_examples: regions of each prototype that a new index remembers for pictures, at least 1.
        prune: whether slides that have no file any more are taken out.
    """

    def __init__(
        self,
        dataset_dir: str | Path,
        index_dir: str | Path,
        table: SlideTable | None = None,
        *,
        regions: bool | str = True,
        n_examples: int = 4,
        prune: bool | str = False,
    ) -> None:
        self.dataset_dir, self.index_dir = Path(dataset_dir), Path(index_dir)
        self.table = SlideTable({}) if table is None else table
        self.has_regions, self.prune = as_bool(regions), as_bool(prune)
        self.n_examples = as_whole(n_examples, "n_examples", 1)

    def run(self) -> IndexUpdate:
        """Update, and say what was done; of several processes the first one does it.

        A damaged file is reported and left out. Slides are written in batches: a run that was killed goes on with the
        batch it was in.

        Raises:
            BundleError: no embeddings are found, none of them can be used, another process writes to the index, or it
                cannot be read or written.
        """
        if own_rank():
            return IndexUpdate()
        paths = find_embeddings(self.dataset_dir)
        meanwhile = "It can be searched meanwhile (slpd search SLIDE)."
        with writer_lock(self.index_dir, "search index", "index_dir", meanwhile):
            return self._update(paths)

    def _update(self, paths: list[Path]) -> IndexUpdate:
        index = SearchIndex.open(self.index_dir, regions=self.has_regions, n_examples=self.n_examples)
        done = IndexUpdate()
        known = {entry.file: entry for entry in index.catalog.entries if entry is not None}
        stamps = {path: _stamp(path) for path in paths}
        new = [path for path in paths if path.stem not in known or known[path.stem].stamp != stamps[path]]
        done.unchanged = len(paths) - len(new)
        for slides, entries in self._batches(new, stamps, index, done):
            for entry in entries:
                (done.replaced if entry.slide_id in index.rows else done.added).append(entry.slide_id)
            index.add(slides, entries)
        self._take_out({path.stem for path in paths}, index, done)
        if self.table.path is not None:
            entries = [entry for entry in index.catalog.entries if entry is not None]
            self.table.match([entry.slide_id for entry in entries], [entry.slide_path for entry in entries])
            done.retabled = index.retable(self.table)
        index.tidy()
        if not len(index):
            raise BundleError(f"no slide of {self.dataset_dir} can be indexed: {next(iter(done.failed.values()))}")
        _log.info("search index %s holds %d slides: %s", self.index_dir, len(index), done)
        return done

    def _batches(
        self, paths: list[Path], stamps: dict[Path, tuple[int, int]], index: SearchIndex, done: IndexUpdate
    ) -> Iterator[tuple[list[SlideEmbeddings], list[Entry]]]:
        slides: list[SlideEmbeddings] = []
        entries: list[Entry] = []
        stems = {path.stem for path in stamps}
        file_of = {e.slide_id: e.file for e in index.catalog.entries if e is not None and e.file in stems}
        for path in Progress(paths, desc="indexing slides", leave=False):
            try:
                slide = read_embeddings(path, attention=False)
                index.check(slide)
                _check_one_file(slide.slide_id, path.stem, file_of)
            except BundleError as error:
                done.failed[path.stem] = str(error)
                continue
            slide_path = str(slide.attributes.get("slide_path", ""))
            values = self.table.row(slide.slide_id, slide_path or None).values
            slides.append(slide)
            entries.append(Entry(slide.slide_id, path.stem, stamps[path], values, slide_path))
            if len(slides) >= min(max(_SLIDES_AT_ONCE[0], len(index) // _SHARE_AT_ONCE), _SLIDES_AT_ONCE[1]):
                yield slides, entries
                slides, entries = [], []
        if slides:
            yield slides, entries

    def _take_out(self, files: set[str], index: SearchIndex, done: IndexUpdate) -> None:
        """Slides without a file; a single file that is added to an index says nothing about the others."""
        if self.dataset_dir.is_file():
            return
        gone = [entry.slide_id for entry in index.catalog.entries if entry is not None and entry.file not in files]
        if self.prune:
            index.remove(gone)
            done.removed = gone
        else:
            done.missing = gone


def _check_one_file(slide_id: str, file: str, file_of: dict[str, str]) -> None:
    first = file_of.setdefault(slide_id, file)
    if first != file:
        raise BundleError(f"slide {slide_id} is in the files {first} and {file}; keep one of them.")


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _names(names: list[str]) -> str:
    return ", ".join(names[:_FEW_NAMES]) + (f" and {len(names) - _FEW_NAMES} more" if len(names) > _FEW_NAMES else "")
