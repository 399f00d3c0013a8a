"""HDF5 files that are nearly right: attributes and data sets that are others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import h5py
import numpy as np
from hypothesis import strategies as st

from .changes import ODD_TEXTS, changed_bytes

_VALUES: list[Any] = [
    *(text for text in ODD_TEXTS if "\0" not in text and "\ud800" not in text), 0, -1, 1e308, float("nan"),
    float("inf"), 2**62,
    np.array([1, 2]), np.zeros(0), np.array(["a", "b"], dtype=h5py.string_dtype()), h5py.Empty("f"), np.uint32(1),
    np.array([[1.5]]), b"\xff\xfe", True, np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
]  # fmt: skip
_SHAPES: list[tuple[int, ...]] = [
    (),
    (0,),
    (1,),
    (3,),
    (2, 2),
    (4, 0),
    (0, 2),
    (1, 2, 3),
    (2, 4, 4, 3),
    (1, 1, 1, 1, 1),
]
_HUGE: list[tuple[int, ...]] = [
    (1 << 40,),
    (1 << 40, 2),
    (1 << 30, 16, 16, 8),
    (2, 1 << 20, 1 << 20),
    (1 << 20, 1 << 20),
]
_KINDS = ["f2", "f4", "f8", "i1", "i8", "u4", "S4", "?", "c8", ">f4", "V6"]


def changed_hdf5(write: Callable[[h5py.File], None]) -> st.SearchStrategy[bytes]:
    """A file with up to three odd attributes, data sets, links or groups; or with bytes changed.

    Args:
        write: fills a file in as it should be.
    """
    number = st.integers(0, 1 << 16)
    kinds = st.sampled_from(["attribute", "attribute", "data", "data", "huge", "gone", "group", "link", "text"])
    changes = st.lists(st.tuples(number, kinds, number), min_size=1, max_size=3)
    made = st.builds(lambda found: image(write, found), changes)
    return st.one_of(made, made, changed_bytes([image(write, [])]))


def image(write: Callable[[h5py.File], None], changes: Sequence[tuple[int, str, int]]) -> bytes:
    """The bytes of a file with changes."""
    with h5py.File("fuzz", "w", driver="core", backing_store=False) as file:
        write(file)
        for number, kind, value in changes:
            _change(file, number, kind, value)
        file.flush()
        contents: bytes = file.id.get_file_image()
    return contents


def _change(file: h5py.File, number: int, kind: str, value: int) -> None:
    holders: list[Any] = [file]
    file.visititems(lambda _, item: holders.append(item))
    names = [holder.name for holder in holders if isinstance(holder, h5py.Dataset)] or ["features"]
    if kind == "attribute":
        spots = [(holder, name) for holder in holders for name in holder.attrs] or [(file, "format_version")]
        holder, name = spots[number % len(spots)]
        if value % 7:
            holder.attrs[name] = _VALUES[value % len(_VALUES)]
        elif name in holder.attrs:
            del holder.attrs[name]
        return
    name = names[number % len(names)]
    if name in file:
        del file[name]
    shape, dtype = _SHAPES[value % len(_SHAPES)], np.dtype(_KINDS[value % len(_KINDS)])
    if kind == "data":
        file.create_dataset(name, data=np.zeros(shape, dtype))
    elif kind == "huge":
        shape = _HUGE[value % len(_HUGE)]
        file.create_dataset(
            name, shape, dtype, chunks=tuple(min(side, 4) for side in shape), fillvalue=np.zeros((), dtype)[()]
        )
    elif kind == "group":
        file.create_group(name)
    elif kind == "link":
        file[name] = h5py.ExternalLink("/etc/hostname", "x") if value & 1 else h5py.SoftLink("/" if value & 2 else name)
    elif kind == "text":
        file.create_dataset(name, data=ODD_TEXTS[2])
