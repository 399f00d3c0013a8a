"""AnnData's file (.h5ad) as its specification has it, written with h5py alone: rows, columns, vectors, notes.

The layout is that of anndata's on-disk format: each group and data set says its ``encoding-type`` and version.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import h5py
import numpy as np

_TEXT = h5py.string_dtype("utf-8")
_NO_TEXT = np.array([], object)


def begin_h5ad(file: h5py.File, n_rows: int, dim: int, obsm: Mapping[str, int]) -> None:
    """Make ``X`` [n_rows, dim] and ``obsm`` by width, float32, to be filled; and what every such file has.

    Args:
        file: empty, open to write.
        n_rows: observations.
        dim: variables.
        obsm: width of further vectors by name.
    """
    _encode(file, "anndata", "0.1.0")
    _empty_array(file, "X", (n_rows, dim))
    for name in ("layers", "obsm", "obsp", "uns", "varm", "varp"):
        _encode(file.create_group(name), "dict", "0.1.0")
    for name, width in obsm.items():
        _empty_array(file["obsm"], name, (n_rows, width))
    write_frame(file, "var", [str(i) for i in range(dim)], {})


def write_frame(parent: h5py.Group, name: str, index: Sequence[str], columns: Mapping[str, Sequence[Any]]) -> None:
    """A data frame: texts become categories where they come again, numbers and booleans arrays.

    Args:
        parent: where.
        name: ``obs`` or ``var``.
        index: names of the rows, each once.
        columns: values by name, as many as rows.
    """
    group = parent.create_group(name)
    _encode(group, "dataframe", "0.2.0")
    group.attrs["_index"] = "_index"
    group.attrs.create("column-order", np.array(list(columns), object) if columns else _NO_TEXT, dtype=_TEXT)
    _write(group, "_index", np.array(list(index), object))
    for column, values in columns.items():
        array = np.asarray(values)
        if array.dtype.kind in "UO":
            _write_categories(group, column, [str(value) for value in values])
        else:
            _write(group, column, array)


def write_notes(group: h5py.Group, notes: Mapping[str, Any]) -> None:
    """Values of ``uns``: texts, numbers, arrays, lists of texts, and dictionaries of these."""
    for name, value in notes.items():
        if isinstance(value, Mapping):
            _encode(group.create_group(name), "dict", "0.1.0")
            write_notes(group[name], value)
        elif isinstance(value, str):
            _encode(group.create_dataset(name, data=value, dtype=_TEXT), "string", "0.2.0")
        elif isinstance(value, bool | int | float | np.generic):
            _encode(group.create_dataset(name, data=value), "numeric-scalar", "0.2.0")
        else:
            array = np.asarray(value)
            _write(group, name, array.astype(object) if array.dtype.kind == "U" else array)


def _write_categories(group: h5py.Group, name: str, values: Sequence[str]) -> None:
    categories, codes = np.unique(np.array(values, object).astype(str), return_inverse=True)
    made = group.create_group(name)
    _encode(made, "categorical", "0.2.0")
    made.attrs["ordered"] = False
    _write(made, "categories", categories.astype(object))
    _write(made, "codes", codes.reshape(-1).astype(np.int32))


def _write(group: h5py.Group, name: str, array: Any) -> None:
    is_text = array.dtype == object
    dataset = group.create_dataset(name, data=array, dtype=_TEXT if is_text else None)
    _encode(dataset, "string-array" if is_text else "array", "0.2.0")


def _empty_array(group: h5py.Group, name: str, shape: tuple[int, int]) -> None:
    _encode(group.create_dataset(name, shape, np.float32), "array", "0.2.0")


def _encode(node: h5py.Group | h5py.Dataset, kind: str, version: str) -> None:
    node.attrs.update({"encoding-type": kind, "encoding-version": version})
