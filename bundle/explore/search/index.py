"""An index of a cohort's slides: saved as arrays, extended by further ones."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...cohort import SlideTable
from ...core import BundleError, write_bytes
from ...storage import Provenance, SlideEmbeddings
from .catalog import CATALOG, Catalog, Entry
from .part import RegionPart, SlidePart

_MANY_PARTS = 64
_log = logging.getLogger(__name__)


class SearchIndex:
    """Slides with their embeddings, prototypes and example regions; and, where asked for, all their regions.

    A folder: ``index.json``, and arrays as safetensors, a file or two each time slides are added. What is searched in
    is exhaustive and needs no training, so that adding slides changes nothing for those that are there. Whoever adds or
    removes slides holds :func:`~bundle.core.lock.writer_lock` from before the index is opened, as
    :class:`Indexer` does: of two writers the later would undo what the other has added.

    Args:
        folder: where it is, or will be.
        catalog: its table of contents.

    Attributes:
        slides: arrays of all rows; those of replaced slides remain until half of the rows are such.
    """

    def __init__(self, folder: Path, catalog: Catalog) -> None:
        self.folder, self.catalog = folder, catalog
        self.rows = catalog.rows

    @classmethod
    def load(cls, folder: str | Path) -> SearchIndex:
        """The index in a folder.

        Raises:
            BundleError: there is none, or it is damaged.
        """
        return cls(Path(folder), Catalog.read(Path(folder)))

    @classmethod
    def open(cls, folder: str | Path, *, regions: bool = True, n_examples: int = 4) -> SearchIndex:
        """The index in a folder, or an empty one that will be written there; the options are those of a new one.

        Args:
            folder: where it is.
            regions: whether single regions shall be searchable.
            n_examples: regions of each prototype that are remembered for pictures.
        """
        if (Path(folder) / CATALOG).exists():
            return cls.load(folder)
        return cls(Path(folder), Catalog(has_regions=regions, n_examples=n_examples))

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def slides(self) -> SlidePart:
        """See the class.

        Raises:
            BundleError: the index is empty or damaged.
        """
        if not self.catalog.parts:
            raise BundleError(f"the search index {self.folder} holds no slide: add some first.")
        slides = SlidePart.joined([SlidePart.read(self._file(name)) for name in self.catalog.parts])
        if len(slides) != len(self.catalog.entries):
            raise BundleError(
                f"the search index is damaged: {self.folder / CATALOG} names {len(self.catalog.entries)} slides, the "
                f"arrays have {len(slides)}. Remove {self.folder} and index again."
            )
        return slides

    @cached_property
    def regions(self) -> RegionPart:
        """Regions of all rows.

        Raises:
            BundleError: the index was made without regions, or is damaged.
        """
        if not self.catalog.has_regions:
            raise BundleError(
                f"the search index {self.folder} was made without regions: index again with --index_regions true into "
                "another folder."
            )
        regions = RegionPart.joined([RegionPart.read(self._file(name, True)) for name in self.catalog.parts])
        if len(regions.features) != int(self.slides.n_regions.sum()):
            raise BundleError(f"the search index {self.folder} is damaged: regions are missing. Index again.")
        return regions

    @cached_property
    def is_live(self) -> NDArray[np.bool_]:
        """Rows that were not replaced or removed, [rows]."""
        return np.array([entry is not None for entry in self.catalog.entries], bool)

    @cached_property
    def values(self) -> list[dict[str, str]]:
        """Row of the slide table of every row; empty where there is none."""
        return [{} if entry is None else entry.values for entry in self.catalog.entries]

    def entry(self, row: int) -> Entry:
        """The slide of a row that is live."""
        entry = self.catalog.entries[row]
        if entry is None:
            raise ValueError(f"row {row} holds no slide any more.")
        return entry

    def check(self, slide: SlideEmbeddings) -> None:
        """Make sure that a slide can be compared with those of the index; the first says what the others must be.

        Raises:
            BundleError: its embeddings come from other weights, or from another resolution, or are not finite.
        """
        if not all(np.isfinite(each).all() for each in (slide.slide_embedding, slide.features, slide.prototypes)):
            raise BundleError(
                f"the embeddings of slide {slide.slide_id} hold a NaN or an infinity: run inference again, without amp."
            )
        own = Provenance.of(slide.attributes)
        self.catalog.provenance = self.catalog.provenance or own
        if difference := self.catalog.provenance.difference(own):
            raise BundleError(
                f"slide {slide.slide_id} cannot be compared with the search index {self.folder}: {difference}, in the "
                "index and in the slide. Run inference with the weights of the index, or make an index of its own."
            )

    def add(self, slides: Sequence[SlideEmbeddings], entries: Sequence[Entry]) -> None:
        """Append slides, instead of those of the same id; files are complete when this returns.

        Raises:
            BundleError: a slide cannot be compared with the others, or the folder cannot be written.
        """
        if not slides:
            return
        for slide in slides:
            self.check(slide)
        part = SlidePart.of(slides, self.catalog.n_examples)
        name = self._write(part, RegionPart.of(slides) if self.catalog.has_regions else None)
        self._forget([entry.slide_id for entry in entries])
        self.catalog.parts.append(name)
        self.catalog.entries.extend(entries)
        self._save()

    def remove(self, slide_ids: Sequence[str]) -> None:
        """Take slides out.

        Raises:
            BundleError: the folder cannot be written.
        """
        if slide_ids:
            self._forget(slide_ids)
            self._save()

    def retable(self, table: SlideTable) -> int:
        """Take over the rows of a slide table; returns how many slides they change.

        Raises:
            BundleError: the folder cannot be written.
        """
        n_changed = 0
        for row, entry in enumerate(self.catalog.entries):
            if entry is None:
                continue
            values = table.row(entry.slide_id, entry.slide_path or None).values
            if values != entry.values:
                self.catalog.entries[row] = entry._replace(values=values)
                n_changed += 1
        if n_changed:
            self._save()
        return n_changed

    def tidy(self) -> None:
        """Write all arrays into one part, if half of the rows are dead or there are very many parts."""
        n_dead = len(self.catalog.entries) - len(self.rows)
        if n_dead <= len(self.rows) and len(self.catalog.parts) <= _MANY_PARTS:
            return
        rows, old = np.flatnonzero(self.is_live), set(self.catalog.parts)
        regions = None
        if self.catalog.has_regions:
            kept = np.repeat(self.is_live, self.slides.n_regions)
            regions = RegionPart(self.regions.features[kept], self.regions.coords[kept])
        self.catalog.parts = [self._write(self.slides.chosen(rows), regions)] if len(rows) else []
        self.catalog.entries = [self.catalog.entries[row] for row in rows]
        self._save()
        for name in old - set(self.catalog.parts):
            for path in (self._file(name), self._file(name, True)):
                path.unlink(missing_ok=True)

    def _forget(self, slide_ids: Sequence[str]) -> None:
        for slide_id in slide_ids:
            if slide_id in self.rows:
                self.catalog.entries[self.rows[slide_id]] = None

    def _file(self, name: str, is_regions: bool = False) -> Path:
        return self.folder / f"{name}{'.regions' if is_regions else ''}.safetensors"

    def _write(self, part: SlidePart, regions: RegionPart | None) -> str:
        """Write arrays under a name made from them, so that two processes never write over one another's."""
        contents = part.to_bytes()
        name = f"part-{hashlib.sha256(contents).hexdigest()[:16]}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if regions is not None:
                write_bytes(self._file(name, True), regions.to_bytes())
            write_bytes(self._file(name), contents)
        except OSError as error:
            raise self._unwritable(error) from error
        return name

    def _save(self) -> None:
        try:
            self.catalog.write(self.folder)
        except OSError as error:
            raise self._unwritable(error) from error
        self.rows = self.catalog.rows
        for name in ("slides", "regions", "is_live", "values"):
            self.__dict__.pop(name, None)

    def _unwritable(self, error: OSError) -> BundleError:
        return BundleError(
            f"the search index cannot be written to {self.folder} ({error.strerror}): make room, or choose another "
            "index_dir."
        )
