"""Embeddings of a folder to the layouts of other tools, several at once."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from ... import __version__
from ...cohort import SlideTable, is_file_name
from ...core import (
    BundleError,
    Progress,
    SettingError,
    as_bool,
    check_folder,
    read_json_file,
    remove_stale_parts,
    sole_run,
    write_text,
)
from ...storage import Provenance, embeddings_root
from ..importing.layouts.tables import required
from . import cohort_files, slide_files
from .cohort import ExportCohort

_log = logging.getLogger(__name__)
_KIND = "slpd_export"
RECORD = "export.json"


class _File(NamedTuple):
    """A file to make: its path, what it is made of, and what makes it."""

    path: Path
    source: str
    make: Callable[[], Any]


class FeatureExporter:
    """Writes each format into a folder of its own below ``output_dir``, and ``export.json``: what lies there.

    A file has its name when it is complete. Called again, it skips files that were made of the same embeddings.

    Args:
        dataset_dir: folder of embedding files, searched in depth, or one of them.
        output_dir: where the formats go.
        formats: some of ``FORMATS``.
        table: patients, and whatever else is said of slides, which AnnData and parquet carry along.
        overwrite: make finished files anew.

    Raises:
        BundleError: no such format, no package that it needs, embeddings of several encoders, a folder that holds
            something else, or exports of another encoder.
    """

    def __init__(
        self,
        dataset_dir: str | Path,
        output_dir: str | Path,
        formats: Sequence[str],
        table: SlideTable,
        overwrite: bool = False,
    ) -> None:
        self.formats, self.overwrite = _known(formats), as_bool(overwrite)
        self.output_dir = Path(output_dir)
        _insist_on_two_folders(Path(dataset_dir), self.output_dir)
        if "parquet" in self.formats:
            required("pyarrow", "parquet", "an export to parquet")
        self.cohort = ExportCohort(dataset_dir, table)
        self._insist_on_own_folder()
        _insist_on_file_names(self.cohort.patients())

    def run(self) -> list[Path]:
        """Make what is missing.

        Returns:
            The files that were made.

        Raises:
            BundleError: a file cannot be written, or an embedding file not be read; finished files stay. Another run
                writes there.
        """
        check_folder(self.output_dir, "exports", "output_dir")
        with sole_run(self.output_dir, "export", "output_dir"):
            return self._export()

    def _export(self) -> list[Path]:
        about = {"kind": _KIND, "bundle_version": __version__, "provenance": self.cohort.provenance._asdict()}
        write_text(self.output_dir / RECORD, json.dumps(about, indent=1) + "\n")
        files = [file for name in self.formats for file in FORMATS[name](self.cohort, self.output_dir / name)]
        for folder in {file.path.parent for file in files}:
            remove_stale_parts(check_folder(folder, "exports", "output_dir"))
        made = []
        for file in Progress(files, "exporting", unit="file"):
            if not self.overwrite and cohort_files.source_of(file.path) == file.source:
                continue
            try:
                file.make()
            except (OSError, RuntimeError) as error:
                raise BundleError(
                    f"{file.path} cannot be written ({error}): make room, or choose another output_dir; finished files "
                    "are kept."
                ) from error
            made.append(file.path)
        self._tell({file.path for file in files}, len(made), len(files))
        return made

    def _insist_on_own_folder(self) -> None:
        """Nothing of somebody else, and no export of another encoder, lies in the folder."""
        folder, record = self.output_dir, self.output_dir / RECORD
        if not folder.is_dir() or not any(path.name[0] != "." for path in folder.iterdir()):
            return
        try:
            found = read_json_file(record)
            earlier = Provenance(**found["provenance"]) if found["kind"] == _KIND else None
        except (OSError, ValueError, KeyError, TypeError):
            earlier = None
        if earlier is None:
            raise BundleError(f"{folder} holds other results: choose an empty folder, or a new one, as output_dir.")
        if difference := earlier.difference(self.cohort.provenance):
            raise BundleError(
                f"{folder} holds exports of other embeddings: {difference}. Choose another output_dir, or remove it."
            )

    def _tell(self, own: set[Path], n_made: int, n_all: int) -> None:
        _log.info("%d files made, %d were there: %s", n_made, n_all - n_made, self.output_dir)
        there = {path for path in self.output_dir.rglob("*.h*") if path.name != RECORD and path.name[0] != "."}
        strays = sorted(path for path in there - own if path.relative_to(self.output_dir).parts[0] in self.formats)
        if strays:
            _log.warning("%d files of slides that are not exported now are kept, such as %s", len(strays), strays[0])


def _of_slides(write: Callable[..., None], folder: str = "", suffix: str = "h5") -> Callable[..., Iterator[_File]]:
    def make(cohort: ExportCohort, slide_id: str, path: Path) -> None:
        write(cohort, cohort.read(slide_id), path)

    def files(cohort: ExportCohort, root: Path) -> Iterator[_File]:
        for slide_id in cohort.files:
            path = root / folder / f"{slide_id}.{suffix}"
            yield _File(path, cohort.source([slide_id]), partial(make, cohort, slide_id, path))

    return files


def _of_patients(write: Callable[..., None], folder: str) -> Callable[..., Iterator[_File]]:
    def files(cohort: ExportCohort, root: Path) -> Iterator[_File]:
        for patient, slide_ids in cohort.patients().items():
            path = root / folder / f"{patient}.h5"
            yield _File(path, cohort.source(slide_ids), partial(write, cohort, slide_ids, path))

    return files


def _of_cohort(suffix: str, **writers: Callable[[ExportCohort, Path], None]) -> Callable[..., Iterator[_File]]:
    def files(cohort: ExportCohort, root: Path) -> Iterator[_File]:
        for name, write in writers.items():
            path = root / f"{name}.{suffix}"
            yield _File(path, cohort.source(), partial(write, cohort, path))

    return files


def _both(*parts: Callable[..., Iterator[_File]]) -> Callable[[ExportCohort, Path], Iterator[_File]]:
    return lambda cohort, root: (file for part in parts for file in part(cohort, root))


FORMATS: dict[str, Callable[[ExportCohort, Path], Iterator[_File]]] = {
    "trident": _of_slides(slide_files.write_trident_slide, "slide_features_slpd"),
    "patho_bench": _both(
        _of_slides(slide_files.write_patho_bench_slide, "slides"),
        _of_patients(slide_files.write_patho_bench_patient, "patients"),
    ),
    "stamp": _both(
        _of_slides(slide_files.write_stamp_slide, "tiles"), _of_patients(slide_files.write_stamp_patient, "patients")
    ),
    "anndata": _of_cohort("h5ad", regions=cohort_files.write_regions_h5ad, slides=cohort_files.write_slides_h5ad),
    "spatialdata": _of_slides(cohort_files.write_spatial_table, suffix="h5ad"),
    "parquet": _of_cohort(
        "parquet", regions=cohort_files.write_regions_parquet, slides=cohort_files.write_slides_parquet
    ),
}


def _known(formats: Sequence[str]) -> list[str]:
    given = [formats] if isinstance(formats, str) else formats if isinstance(formats, list | tuple) else []
    names = list(dict.fromkeys(map(str, given)))
    if not names or not set(names) <= set(FORMATS):
        raise SettingError(f"formats are {formats!r}; give some of {', '.join(FORMATS)}.")
    return names


def _insist_on_two_folders(dataset_dir: Path, output_dir: Path) -> None:
    """Exports, which are .h5 as well, are not looked through for embeddings when exporting is called again."""
    root = embeddings_root(dataset_dir).resolve()
    if output_dir.resolve().is_relative_to(root):
        raise BundleError(
            f"output_dir {output_dir} lies in {root}, where embeddings are looked for: choose a folder beside it."
        )


def _insist_on_file_names(patients: dict[str, list[str]]) -> None:
    if wrong := [name for name in patients if not is_file_name(name)]:
        raise BundleError(f"the patient {wrong[0]!r} cannot name a file: give patients other names in the slide table.")
