"""Room for batches that is used again and again, by one process and by the workers that it forks.

A fresh array of a batch costs page faults, about as much as reading it; a batch that a worker sends the usual way is
copied into fresh shared memory besides. Here a worker reads into memory that the training process sees, and sends the
place.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import weakref
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..core import is_alive
from .memory import available_memory, shared_array

_MAX_BYTES = 2 << 30  # of addresses; memory is taken only as far as batches are held at the same time
_MAX_ROWS = 8192
_LOCK_TIMEOUT_S = 1.0

_rooms: weakref.WeakValueDictionary[tuple[int, int], BatchRoom] = weakref.WeakValueDictionary()
_numbers = itertools.count()


class BatchRoom:
    """Rows for regions, lent to tensors; a row is free again when nobody holds the tensor, in whatever process.

    Args:
        shape: of one region, (P, P, D).
        dtype: of a token.

    Raises:
        OSError: the system does not promise the memory, or knows no locks that processes share.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self._row_nbytes = int(np.prod(shape)) * dtype.itemsize
        n_rows = min(_MAX_ROWS, min(_MAX_BYTES, available_memory() // 4) // self._row_nbytes)
        self._rows: NDArray[Any] = shared_array((n_rows, *shape), dtype)
        self._owner = shared_array((n_rows,), np.int32)  # process id; 0: free
        self._lock = multiprocessing.get_context("fork").Lock()
        self._leases: dict[int, weakref.finalize] = {}
        self._maker = os.getpid()
        self.key = self._maker, next(_numbers)
        _rooms[self.key] = self

    @property
    def is_elsewhere(self) -> bool:
        """This process was forked from the one that made the room."""
        return os.getpid() != self._maker

    @property
    def n_taken(self) -> int:
        """Rows in use, by all processes."""
        return int(np.count_nonzero(self._owner))

    def take(self, n: int) -> Tensor | None:
        """A tensor [n, P, P, D] of whatever was there before; None where no n rows in a row are free."""
        if n > len(self._owner) or not self._lock.acquire(timeout=_LOCK_TIMEOUT_S):  # its holder may have been killed
            return None
        try:
            row = self._free_run(n)
            if row is None and self._release_the_dead():
                row = self._free_run(n)
            if row is None:
                return None
            self._owner[row : row + n] = os.getpid()
        finally:
            self._lock.release()
        return self._lend(row, n)

    def hand_over(self, tensor: Tensor) -> int | None:
        """First row of a whole tensor of :meth:`take`, for :meth:`receive` in the maker's process; None for others.

        From here on the rows stay taken when this process drops the tensor.
        """
        row, remainder = divmod(tensor.data_ptr() - self._rows.ctypes.data, self._row_nbytes)
        lease = self._leases.get(row)
        if remainder or lease is None or not tensor.is_contiguous() or (details := lease.peek()) is None:
            return None
        if tensor.shape != details[0].shape or tensor.numpy().dtype != self._rows.dtype:
            return None
        del self._leases[row]
        lease.detach()
        return row

    def receive(self, row: int, n: int) -> Tensor:
        """The tensor that another process handed over."""
        self._owner[row : row + n] = os.getpid()
        return self._lend(row, n)

    def _lend(self, row: int, n: int) -> Tensor:
        rows = self._rows[row : row + n]  # an object of its own: the tensor and all its views keep it alive
        lease = weakref.finalize(rows, self._give_back, row, n, os.getpid())
        lease.atexit = False
        self._leases[row] = lease
        return torch.from_numpy(rows)

    def _give_back(self, row: int, n: int, pid: int) -> None:
        if pid == os.getpid():  # a forked process has copies of its parent's tensors, and no say in them
            self._leases.pop(row, None)
            self._owner[row : row + n] = 0

    def _free_run(self, n: int) -> int | None:
        """First of n free rows in a row; low rows first, so that little memory is touched."""
        is_free = np.zeros(len(self._owner) + 2, np.int8)
        is_free[1:-1] = self._owner == 0
        edges = np.diff(is_free)
        starts, stops = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
        fits = np.flatnonzero(stops - starts >= n)
        return int(starts[fits[0]]) if len(fits) else None

    def _release_the_dead(self) -> bool:
        """Free what ended workers sent and nobody received, because a loop over the loader was left early."""
        dead = [pid for pid in np.unique(self._owner).tolist() if pid and not is_alive(pid)]
        self._owner[np.isin(self._owner, dead)] = 0
        return bool(dead)


class RoomBatch(dict[str, Any]):
    """A batch whose ``features`` lie in a room: processes send each other the place instead of the tokens."""

    def __init__(self, batch: dict[str, Tensor], key: tuple[int, int]) -> None:
        super().__init__(batch)
        self.key = key


def _reduce(batch: RoomBatch) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    room = _rooms.get(batch.key)
    row = room.hand_over(batch["features"]) if room is not None and room.is_elsewhere else None
    if row is None:
        return dict, (dict(batch),)
    small = {name: value.numpy() for name, value in batch.items() if name != "features"}
    return _receive, (batch.key, row, len(batch["features"]), small)


def _receive(key: tuple[int, int], row: int, n: int, small: dict[str, NDArray[Any]]) -> dict[str, Tensor]:
    return {"features": _rooms[key].receive(row, n)} | {name: torch.from_numpy(value) for name, value in small.items()}


ForkingPickler.register(RoomBatch, _reduce)  # what queues between processes use; copies of a batch are none of it
