"""Vectors of slides that another program made: tables, and folders with a file a slide. Nothing is unpickled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

from ...cohort import SlideRow, SlideTable, read_table
from ...core import BundleError, files_below, insist_on_unpacked
from ...storage import insist_on_size, own_dataset

_ID_COLUMNS = ("slide", "slide_id", "id")
_SUFFIXES = (".h5", ".hdf5", ".npy", ".pt")
_NAMED = 5
Floats = NDArray[np.float32]


def read_slide_vectors(
    paths: Mapping[str, str | Path] | None,
    slide_ids: Sequence[str],
    slide_paths: Sequence[str] = (),
    patients: Sequence[Sequence[str]] | None = None,
) -> dict[str, Floats]:
    """Vectors of a cohort's slides from each source, found by slide id, path or file name as rows of a slide table are.

    Args:
        paths: a CSV (a column ``slide``, ``slide_id`` or ``id``, all others numbers) or a folder of files, one a slide:
            HDF5 with ``features`` [d] or [1, d], ``.npy``, or ``.pt`` with one tensor; by the name that results will
            have. None: none.
        slide_ids: S slides.
        slide_paths: names of their own files, "" where one is not known.
        patients: slides of each patient that needs them; None: all.

    Returns:
        float32 [S, d] for each name; NaN for a slide that is not needed and has none.

    Raises:
        BundleError: no dictionary of names; a file is missing or damaged, or holds something else; vectors differ in
            length or are not finite; a slide that is needed has none.
    """
    if paths is not None and (not isinstance(paths, Mapping) or not all(paths.values())):
        raise BundleError(
            f"slide_vectors is {paths!r}; give a name and a CSV or folder for each, such as "
            "\"{'TITAN': 'slide_features_titan'}\"."
        )
    needed = set(slide_ids) if patients is None else {slide for slides in patients for slide in slides}
    return {
        str(name): _of_slides(str(name), Path(path), slide_ids, slide_paths, needed)
        for name, path in (paths or {}).items()
    }


def _of_slides(name: str, path: Path, slide_ids: Sequence[str], slide_paths: Sequence[str], needed: set[str]) -> Floats:
    vectors = _from_folder(path) if path.is_dir() else _from_table(path)
    _check_alike(vectors, path)
    table = SlideTable({key: SlideRow(values={"slide": key}) for key in vectors}, ["slide"], path)
    table.match(slide_ids, slide_paths)
    keys = [table.row(slide_id).values.get("slide") for slide_id in slide_ids]
    lacking = [s for s, key in zip(slide_ids, keys, strict=True) if key is None and s in needed]
    if lacking:
        more = ", ..." if len(lacking) > _NAMED else ""
        raise BundleError(
            f"slide_vectors {name}: {len(lacking)} of {len(needed)} slides have no vector in {path} "
            f"({', '.join(lacking[:_NAMED])}{more}), which holds {', '.join(list(vectors)[:3])}: add them, or leave "
            "those slides out of dataset_dir, since all encoders are compared on the same patients."
        )
    width = len(next(iter(vectors.values())))
    rows = [np.full(width, np.nan) if key is None else vectors[key] for key in keys]
    return np.stack(rows).astype(np.float32)


def _from_table(path: Path) -> dict[str, Floats]:
    """Vectors by the names in a table."""
    table = read_table(path, "table of slide vectors", _ID_COLUMNS)
    column = next((name for name in _ID_COLUMNS if name in table.columns), None)
    columns = [name for name in table.columns if name != column]
    if column is None or not columns or not table.rows:
        raise BundleError(
            f"{path} holds no slide vectors (columns: {', '.join(table.columns[:6]) or 'none'}): give a table with a "
            "column 'slide' and a column of numbers for each element, a row a slide."
        )
    found: dict[str, Floats] = {}
    for line, cells in table.rows:
        name = cells[column]
        if not name or name in found:
            raise BundleError(f"{path}, line {line}: slide {name!r}: give each row a slide, and each slide one row.")
        try:
            found[name] = np.array([table.number(cells[element]) for element in columns])
        except ValueError as error:
            raise BundleError(
                f"{path}, line {line}: a cell is no number ({error}); leave columns out that are no elements of the "
                "vectors."
            ) from error
    return found


def _from_folder(folder: Path) -> dict[str, Floats]:
    """Vectors by the names of files, searched in depth."""
    found: dict[str, Floats] = {}
    for path in files_below(folder, _SUFFIXES):
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in found:
            raise BundleError(f"{folder} has two files of vectors for {name}, one of them {path}; keep one.")
        found[name] = _from_file(path)
    if not found:
        raise BundleError(f"{folder} has no slide vectors: no file ends with {', '.join(_SUFFIXES)}.")
    return found


def _from_file(path: Path) -> Floats:
    """The vector in a file, [d]."""
    try:
        values = _array(path)
    except Exception as error:  # h5py, NumPy and torch each raise many kinds for a damaged file
        raise BundleError(f"{path} cannot be read as a slide vector ({error}): write it again.") from error
    if values.ndim == 2 and len(values) == 1:
        values = values[0]
    if values.ndim != 1 or not len(values) or values.dtype.kind not in "fiu":
        raise BundleError(
            f"{path} holds {values.dtype} of shape {values.shape}, not one vector: slide_vectors takes embeddings of "
            "slides; features of patches are for configs/import.yaml."
        )
    return values.astype(np.float32)


def _array(path: Path) -> NDArray[np.generic]:
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return np.load(path, allow_pickle=False)
    if suffix == ".pt":
        insist_on_unpacked(path)
        return torch.load(path, map_location="cpu", weights_only=True).detach().float().numpy()
    with h5py.File(path, "r") as file:
        stored = own_dataset(file, "features", path, "fiu")
        insist_on_size(path, "features", stored.shape, stored.dtype.itemsize)
        return np.asarray(stored[()])


def _check_alike(vectors: Mapping[str, Floats], path: Path) -> None:
    first = next(iter(vectors))
    for name, vector in vectors.items():
        if len(vector) != len(vectors[first]):
            raise BundleError(
                f"{path}: the vector of {first} has {len(vectors[first])} elements, that of {name} {len(vector)}: keep "
                "what different models made in folders of their own."
            )
        if not np.isfinite(vector).all():
            raise BundleError(f"{path}: the vector of {name} is not finite; make it anew.")
