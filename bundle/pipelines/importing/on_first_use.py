"""The folder that a run was given, as token files: features of other tools are imported once, for all commands."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from ...cohort import SLIDE_SUFFIXES, SlideTable
from ...core import BundleError, writer_lock
from .detection import find_features
from .import_table import ImportRecord, read_records
from .importer import FeatureImporter
from .layouts.layout import N_SAMPLES, Places, is_of_this_bundle, spread

logger = logging.getLogger(__name__)
_IMPORTED = "imported_tokens"
TokenFolder = str | Path | Sequence[str | Path]


def imported_folder(dataset_dir: str | Path, tokens_dir: str | Path | None, bundle_root: str | Path) -> Path:
    """Where the features of a folder are imported to: ``tokens_dir``, or without one a folder of theirs.

    Its name is made of the folder's own and of where it lies, so that every command finds what another has imported,
    and two folders of features never mix.

    Args:
        dataset_dir: the folder, or file, of features.
        tokens_dir: what the user has named; None: nothing.
        bundle_root: in its folder ``imported_tokens`` each folder of features has one of its own.
    """
    if tokens_dir is not None:
        return Path(tokens_dir)
    root = Path(dataset_dir).resolve()
    return Path(bundle_root) / _IMPORTED / f"{root.name}-{hashlib.sha256(os.fsencode(root)).hexdigest()[:8]}"


def token_files_of(
    dataset_dir: TokenFolder,
    tokens_dir: str | Path | None = None,
    *,
    bundle_root: str | Path = ".",
    table: SlideTable | None = None,
    slides_dir: str | Path | None = None,
    default_mpp: float | None = None,
    apart_from: Sequence[str | Path] = (),
    takes_slides: bool = False,
) -> TokenFolder:
    """What a run reads: ``dataset_dir`` as it is or, where it holds features of another tool, what they become.

    These are imported there as ``configs/import.yaml`` does it by itself; what is there already is kept. Of several
    processes one imports, and the others wait for it. A few files tell whose a folder is: if one of them is of this
    bundle, or none of a layout that is known, the folder is left to the run, which says what is wrong with it.

    Args:
        dataset_dir: what the user has named; a list of files is left as it is.
        tokens_dir, bundle_root: where the token files go, see :func:`imported_folder`, and ``import/slides.csv``, the
            table of what came of each slide.
        table, slides_dir, default_mpp: see :class:`FeatureImporter`.
        apart_from: folders that the run writes to; where they lie below ``dataset_dir`` they hold no features.
        takes_slides: the run reads slides, too: a folder that has some is left as it is.

    Raises:
        BundleError: no slide could be imported; there are features of several encoders; ``tokens_dir`` has slides
            that the features do not have.
    """
    if not isinstance(dataset_dir, str | Path):
        return dataset_dir
    root = Path(dataset_dir)
    folder = imported_folder(root, tokens_dir, bundle_root)
    written = [folder, *apart_from]
    settings = {"table": table, "slides_dir": slides_dir, "default_mpp": default_mpp, "apart_from": written}
    with _naming_the_config(root):
        layout = _layout_of(root, written, takes_slides)
        if not layout:
            return dataset_dir
        text = "%s holds features of another tool (%s), which become token files in %s; those can be named from now on"
        logger.info(text, root, layout, folder)
        records = _imported(root, folder, settings)
    _insist_on_no_others(folder, root, records)
    n_failed = sum(record.status == "failed" for record in records)
    if n_failed:
        logger.warning("%d of %d slides are left out; why stands in %s", n_failed, len(records), _table_of(folder))
    return folder


def slide_ids_of(
    dataset_dir: str | Path,
    tokens_dir: str | Path | None = None,
    *,
    bundle_root: str | Path = ".",
    table: SlideTable | None = None,
    slides_dir: str | Path | None = None,
    default_mpp: float | None = None,
    apart_from: Sequence[str | Path] = (),
) -> list[str] | None:
    """Slides whose features :func:`token_files_of` would import; None where it would leave the folder as it is.

    Args:
        dataset_dir, tokens_dir, bundle_root, table, slides_dir, default_mpp, apart_from: as it takes them.

    Raises:
        BundleError: there are features of several encoders, or of one slide twice.
    """
    root = Path(dataset_dir)
    folder = imported_folder(root, tokens_dir, bundle_root)
    written = [folder, *apart_from]
    settings = {"table": table, "slides_dir": slides_dir, "default_mpp": default_mpp, "apart_from": written}
    with _naming_the_config(root):
        if not _layout_of(root, written):
            return None
        return [file.slide_id for file in _importer(root, folder, settings).files]


def _layout_of(root: Path, written: Sequence[str | Path], takes_slides: bool = False) -> str:
    """Whose features a folder holds, "" where it holds none that are to be imported."""
    places = Places(root, apart_from=tuple(map(Path, written)))
    if not root.exists() or _holds_own(places) or (takes_slides and places.files(*SLIDE_SUFFIXES)):
        return ""
    return find_features(places)[0]


@contextmanager
def _naming_the_config(root: Path) -> Iterator[None]:
    try:
        yield
    except BundleError as error:
        raise BundleError(
            f"{error} {root} holds features of another tool: configs/import.yaml makes token files of them by itself, "
            "with all settings there are (docs/importing.md)."
        ) from error


def _importer(root: Path, folder: Path, settings: dict[str, Any]) -> FeatureImporter:
    return FeatureImporter(root, folder, _table_of(folder).parent, is_shared=False, **settings)


def _holds_own(places: Places) -> bool:
    """Whether one of the first few files that can be read, from all over the folder, is of this bundle."""
    told = (answer for answer in map(is_of_this_bundle, spread(places.files(".h5", ".hdf5"))) if answer is not None)
    return any(islice(told, N_SAMPLES))


def _imported(root: Path, folder: Path, settings: dict[str, Any]) -> list[ImportRecord]:
    """Import what is not there yet; whoever had to wait for another process takes what that one has made."""
    path = _table_of(folder)
    before = _stamp(path)
    with writer_lock(folder, "folder of imported tokens", "tokens_dir", waits=True):
        importer = _importer(root, folder, settings)
        is_new = _stamp(path) not in (None, before)
        if not (is_new and _is_complete(read_records(path), importer)):
            importer.run()
        return read_records(path)


def _is_complete(records: Sequence[ImportRecord], importer: FeatureImporter) -> bool:
    is_all = {record.slide for record in records} == {file.slide_id for file in importer.files}
    return is_all and any(record.status != "failed" for record in records)


def _insist_on_no_others(folder: Path, root: Path, records: Sequence[ImportRecord]) -> None:
    """Whatever lies in the folder is read: slides of another import would be learned from without a word."""
    known = {record.slide for record in records}
    others = [path for path in sorted(folder.rglob("*.h5")) if path.stem not in known and not path.name.startswith(".")]
    if others:
        raise BundleError(
            f"{folder} has token files of {len(others)} slides whose features are not in {root}, such as {others[0]}: "
            "remove them, choose another tokens_dir, or name that folder itself as dataset_dir."
        )


def _table_of(folder: Path) -> Path:
    return folder / "import" / "slides.csv"


def _stamp(path: Path) -> int | None:
    return path.stat().st_mtime_ns if path.is_file() else None
