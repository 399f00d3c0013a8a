"""A batch of regions as it was read, and the memory that it is read into.

A worker that sends a batch the usual way copies it into fresh shared memory. Here it reads into memory that the
training process sees, and sends the place: an epoch of loading with two workers is 7 times as fast. A process without
workers reads into memory that it has used before: with batches of 256 regions (50 MB) it is 1.6 times as fast as into
fresh memory, which costs page faults; with 64 there is no difference (``scripts/benchmark store``, 2 CPU cores).
"""

from __future__ import annotations

import itertools
import logging
import multiprocessing
import os
import weakref
from collections.abc import Callable, Sequence
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import default_collate

from ..core import is_alive
from .resident import shared_array

logger = logging.getLogger(__name__)
_MAX_BYTES = 2 << 30  # of addresses; memory is taken only as far as batches are held at the same time
_MAX_ROWS = 8192
_LOCK_TIMEOUT_S = 1.0

_pools: weakref.WeakValueDictionary[tuple[int, int], SharedBatches] = weakref.WeakValueDictionary()
_numbers = itertools.count()


class RegionBatch(Sequence[dict[str, Any]]):
    """Items whose tensors are views of one batch, kept in ``stacked`` for :func:`collate_regions`."""

    def __init__(self, stacked: dict[str, Tensor]) -> None:
        self.stacked = stacked

    def __len__(self) -> int:
        return len(self.stacked["region_id"])

    def __getitem__(self, index: int) -> dict[str, Any]:  # type: ignore[override]  # no slices
        item: dict[str, Any] = {name: self.stacked[name][index] for name in ("features", "mask", "present")}
        return item | {name: int(self.stacked[name][index]) for name in ("region_id", "slide")}


def collate_regions(items: Sequence[Any]) -> Any:
    """``collate_fn`` for :class:`TokenDataset`: takes the batch as it was read, without copying it again.

    An epoch of loading without workers is 2.6 times as fast as with torch's collation (``scripts/benchmark store``).
    """
    return items.stacked if isinstance(items, RegionBatch) else default_collate(list(items))


class BatchMaker:
    """Memory for batches that has been used before, where there is some.

    For a GPU, batches of the process that made it are pinned; torch keeps pinned memory and uses it again.

    Args:
        shape: of one region, (P, P, D).
        dtype: of a token.
        device: where batches are going.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype, device: torch.device) -> None:
        self._shape, self._dtype = shape, dtype
        self._pins = device.type == "cuda"
        self._maker = os.getpid()
        self._pool: SharedBatches | None = None
        try:
            self._pool = SharedBatches(shape, dtype)
        except (OSError, ValueError) as error:  # Windows cannot fork
            logger.debug("batches are allocated one by one: %s", error)

    @property
    def is_elsewhere(self) -> bool:
        """This process is another one than that which made it."""
        return os.getpid() != self._maker

    def __call__(self, n: int) -> Tensor:
        """A tensor [n, P, P, D] of whatever was there before."""
        shape = (n, *self._shape)
        if self._pins and not self.is_elsewhere:  # a forked process must leave CUDA alone
            return torch.empty(shape, dtype=torch.from_numpy(np.empty(0, self._dtype)).dtype, pin_memory=True)
        rows = None if self._pool is None else self._pool.take(n)
        return torch.from_numpy(np.empty(shape, self._dtype)) if rows is None else rows

    def batch(self, stacked: dict[str, Tensor]) -> RegionBatch:
        """What was read, ready to be sent where the loader wants it."""
        if self._pool is not None and self.is_elsewhere:
            return RegionBatch(SharedBatch(stacked, self._pool.key))
        return RegionBatch(stacked)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pool": None}  # a spawned process does not share the memory


class SharedBatches:
    """Rows for regions, handed out to tensors; a row is free again when nobody holds the tensor, in whatever process.

    Args:
        shape: of one region, (P, P, D).
        dtype: of a token.

    Raises:
        OSError: the system does not promise the memory, or knows no locks that processes share.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype) -> None:
        n_rows = min(_MAX_ROWS, _MAX_BYTES // (int(np.prod(shape)) * dtype.itemsize))
        self._rows: NDArray[Any] = shared_array((n_rows, *shape), dtype)
        self._owner = shared_array((n_rows,), np.int32)  # process id; 0: free
        self._lock = multiprocessing.get_context("fork").Lock()
        self._leases: dict[int, weakref.finalize] = {}
        self.key = os.getpid(), next(_numbers)
        _pools[self.key] = self
        ForkingPickler.register(SharedBatch, reduce_batch)  # what queues between processes use; copies do not

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
        return self._hand_out(row, n)

    def place_of(self, tensor: Tensor) -> int | None:
        """First row of a tensor of :meth:`take`, for :meth:`receive` in the maker's process; None for other memory.

        From here on the rows stay taken when this process drops the tensor.
        """
        row = (tensor.data_ptr() - self._rows.ctypes.data) // self._rows[0].nbytes
        lease = self._leases.pop(row, None)
        if lease is not None:
            lease.detach()
        return None if lease is None else row

    def receive(self, row: int, n: int) -> Tensor:
        """The tensor that another process handed over."""
        self._owner[row : row + n] = os.getpid()
        return self._hand_out(row, n)

    def _hand_out(self, row: int, n: int) -> Tensor:
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


class SharedBatch(dict[str, Any]):
    """A batch whose ``features`` lie in a room: processes send each other the place instead of the tokens."""

    def __init__(self, batch: dict[str, Tensor], key: tuple[int, int]) -> None:
        super().__init__(batch)
        self.key, self.tokens = key, batch["features"]


def reduce_batch(batch: SharedBatch) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """What is pickled of a batch: its place where it lies in shared memory as a whole, else its values."""
    pool = _pools.get(batch.key)
    is_whole = batch.get("features") is batch.tokens
    row = pool.place_of(batch.tokens) if pool is not None and is_whole else None
    if row is None:
        return dict, (dict(batch),)
    small = {name: value.numpy() for name, value in batch.items() if name != "features"}
    return _receive, (batch.key, row, len(batch.tokens), small)


def _receive(key: tuple[int, int], row: int, n: int, small: dict[str, NDArray[Any]]) -> dict[str, Tensor]:
    return {"features": _pools[key].receive(row, n)} | {name: torch.from_numpy(value) for name, value in small.items()}
