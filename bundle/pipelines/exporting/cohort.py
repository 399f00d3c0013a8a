"""The embedding files that are exported, and what is said of their slides."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ...cohort import SlideTable
from ...core import BundleError, readable
from ...heads import means_of
from ...storage import Provenance, SlideEmbeddings, find_embeddings, read_embeddings, read_embeddings_header

_log = logging.getLogger(__name__)
OWN_COLUMNS = ("slide", "patient")
_KEYS = ("settings_key", "source_key")  # by which inference tells embeddings of one slide apart


class ExportCohort:
    """Slides of one encoder, in the order of their ids.

    Args:
        dataset_dir: folder of embedding files, searched in depth, or one of them.
        table: what is said of slides; one without a patient is a patient.

    Attributes:
        files: by slide id.
        headers: what each file records.
        provenance: of all of them.
        sizes: regions of each slide; slides without any are left out, with a warning.
        dim: length of a region's embedding.

    Raises:
        BundleError: a file cannot be read, or they are of different encoders.
    """

    def __init__(self, dataset_dir: str | Path, table: SlideTable) -> None:
        found: dict[str, tuple[Path, dict[str, Any]]] = {}
        for path in find_embeddings(dataset_dir):
            header = read_embeddings_header(path)
            slide_id = str(header["slide_id"])
            if slide_id in found:
                raise BundleError(f"slide {slide_id} has two files, {found[slide_id][0]} and {path}: keep one.")
            found[slide_id] = path, header
        self.files = {slide_id: path for slide_id, (path, _) in sorted(found.items())}
        self.headers: dict[str, dict[str, Any]] = {slide_id: found[slide_id][1] for slide_id in self.files}
        first = next(iter(self.files))
        self.provenance = Provenance.of(self.headers[first])
        for slide_id, header in self.headers.items():
            if difference := self.provenance.difference(Provenance.of(header)):
                raise BundleError(
                    f"slides {first} and {slide_id} cannot stand in one export: {difference}. Keep each kind in a "
                    "folder of its own."
                )
        shapes = {slide_id: _shape(path) for slide_id, path in self.files.items()}
        self.sizes, self.dim = {s: n for s, (n, _) in shapes.items() if n}, max(dim for _, dim in shapes.values())
        if empty := [slide_id for slide_id in shapes if slide_id not in self.sizes]:
            _log.warning("%d slides have no region and are left out, such as %s", len(empty), ", ".join(empty[:3]))
        if not self.sizes:
            raise BundleError(f"no slide in {dataset_dir} has a region: there is nothing to export.")
        self.files = {slide_id: self.files[slide_id] for slide_id in self.sizes}
        self.headers = {slide_id: self.headers[slide_id] for slide_id in self.sizes}
        table.match(list(self.files), [str(header.get("slide_path", "")) for header in self.headers.values()])
        self._table = table

    def __len__(self) -> int:
        return len(self.files)

    @property
    def attributes(self) -> dict[str, Any]:
        """What all slides have in common, for a file that holds them all."""
        names = ("region_encoder", "encoder", "mpp", "region_size_px", "patch_size_px")
        first = next(iter(self.headers.values()))
        return {name: first[name] for name in names if name in first}

    def read(self, slide_id: str) -> SlideEmbeddings:
        """A slide, without its attention."""
        return read_embeddings(self.files[slide_id], attention=False)

    def slides(self) -> Iterator[SlideEmbeddings]:
        """All of them, one at a time."""
        return map(self.read, self.files)

    def patient(self, slide_id: str) -> str:
        """Whose slide it is."""
        return self._table.row(slide_id).patient or slide_id

    def patients(self) -> dict[str, list[str]]:
        """Patients, sorted, and their slides."""
        by_patient = groupby(sorted(self.files, key=self.patient), self.patient)
        return {patient: list(slide_ids) for patient, slide_ids in by_patient}

    def vector(self, slide_ids: Sequence[str]) -> NDArray[np.float32]:
        """Mean over the regions of all these slides, [dim], as evaluating takes it of a patient."""
        regions = np.concatenate([self.read(slide_id).features for slide_id in slide_ids])
        return means_of(regions, np.array([len(regions)], np.int64))[0].astype(np.float32)

    def columns(self, taken: Sequence[str]) -> dict[str, list[str]]:
        """Columns of the slide table, a text a slide; one whose name is taken begins with ``table_``, once or more."""
        rows = [self._table.row(slide_id).values for slide_id in self.files]
        names = dict.fromkeys(name for row in rows for name in row if name not in OWN_COLUMNS)
        found: dict[str, list[str]] = {}
        for name in names:
            column = _column(name)
            while column in taken or column in found or (column != name and column in names):
                column = f"table_{column}"
            found[column] = [row.get(name, "") for row in rows]
        return found

    def source(self, slide_ids: Sequence[str] | None = None) -> str:
        """Changes with the embeddings of these slides, or of all, and with what the table says of them."""
        digest = hashlib.sha256()
        for slide_id in self.files if slide_ids is None else slide_ids:
            digest.update(f"{slide_id} {self._identity(slide_id)} {sorted(self._said(slide_id).items())}\0".encode())
        return digest.hexdigest()[:24]

    def _said(self, slide_id: str) -> dict[str, str]:
        return dict(self._table.row(slide_id).values)

    def _identity(self, slide_id: str) -> str:
        header = self.headers[slide_id]
        if all(name in header for name in _KEYS):
            return " ".join(str(header[name]) for name in _KEYS)
        status = self.files[slide_id].stat()
        return f"{status.st_size} {status.st_mtime_ns}"


def _shape(path: Path) -> tuple[int, int]:
    with h5py.File(path, "r", locking=False) as file:
        n_regions, dim = file["features"].shape
    return int(n_regions), int(dim)


def _column(name: str) -> str:
    """A name that HDF5 takes: no slash, which would make folders."""
    return readable(name).replace("/", "_").lstrip("_") or "column"
