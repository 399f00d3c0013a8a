"""Regions of many token files into one array: what is in memory at once, the rest asked for together."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .token_store import TokenFile

_MAX_OPEN_FILES = 128
_NO_WAIT = getattr(os, "RWF_NOWAIT", 0)  # Linux


class _Late(NamedTuple):
    """A region that is on its way from the disk."""

    file: TokenFile
    handle: Any
    region: int
    row: int


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
        self._forget_process()

    @property
    def n_open(self) -> int:
        """Files that are open now."""
        return len(self._handles)

    def read_into(self, indices: NDArray[np.int64], out: NDArray[Any], rows: NDArray[np.int64]) -> None:
        """Copy regions ``indices`` to ``out[rows]``, file by file and in the order in which they lie on disk.

        Regions that are in the page cache are copied at once. The others are all requested before the first is waited
        for, so that the disk, or the server behind it, works on many at a time.

        Raises:
            BundleError: a file has gone, was replaced, or ends early.
        """
        order = np.argsort(indices, kind="stable")
        indices, rows = indices[order], rows[order]
        slides = self._slide_of[indices]
        regions, places = (indices - self._first[slides]).tolist(), rows.tolist()
        starts = np.flatnonzero(np.diff(slides, prepend=-1)).tolist()
        late: list[_Late] = []
        for start, stop in zip(starts, [*starts[1:], len(regions)], strict=True):
            file, handle = self.files[slides[start]], self._handle(int(slides[start]))
            if not file.is_plain(out.dtype):
                file.read_into(regions[start:stop], out, places[start:stop], handle)
                continue
            waits = file.copy_cached(regions[start:stop], out, places[start:stop], handle, _NO_WAIT)
            late += [_Late(file, handle, regions[start + i], places[start + i]) for i in waits]
        for item in late:
            item.file.request(item.region, item.handle)
        for item in late:
            item.file.read_into([item.region], out, [item.row], item.handle)

    def _handle(self, slide: int) -> Any:
        """A handle from the most recently used ones; a thread that still reads an evicted one keeps it alive."""
        with self._lock:
            handle = self._handles.pop(slide, None) or self.files[slide].open()
            self._handles[slide] = handle
            while len(self._handles) > _MAX_OPEN_FILES:
                self._handles.popitem(last=False)
        return handle

    def _forget_process(self) -> None:
        self._handles: OrderedDict[int, Any] = OrderedDict()
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("_handles", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget_process()
