"""Regions that stay where they are needed: in the machine's memory, or on the training device."""

from __future__ import annotations

import logging
import mmap
import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..core import BundleError, Progress, available_memory

logger = logging.getLogger(__name__)
_CHOICES = ("auto", "device", "memory", "none")
_FILL_STEP = 64  # regions; 13 MB at D = 384

ReadInto = Callable[[NDArray[np.int64], NDArray, NDArray[np.int64]], None]
MakeBatch = Callable[[int], Tensor]


class MemoryCache:
    """Keeps every region that was read, in memory that forked workers share.

    From the second epoch on loading is 1.9 times as fast as from files that the system keeps in memory
    (``scripts/benchmark store``, no workers).

    Args:
        shape: of all regions, (N, P, P, D).
        dtype: of a token.
        read_into: reads regions ``indices`` to ``out[rows]``, see :meth:`RegionReader.read_into`.
        make_batch: n -> memory for a batch, a CPU tensor [n, P, P, D].

    Attributes:
        is_cached: bool [N], the region has been read.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype, read_into: ReadInto, make_batch: MakeBatch) -> None:
        self._tokens = shared_array(shape, dtype)
        self.is_cached: NDArray[np.bool_] = shared_array(shape[:1], bool)
        self._read_into, self._make_batch = read_into, make_batch

    def read(self, indices: NDArray[np.int64]) -> Tensor:
        """Token grids [n, P, P, D], from the files only the first time."""
        missing = indices[~self.is_cached[indices]]
        if len(missing):
            self._read_into(missing, self._tokens, missing)
            self.is_cached[missing] = True
        out = self._make_batch(len(indices))
        return torch.index_select(torch.from_numpy(self._tokens), 0, torch.from_numpy(indices), out=out)


class DeviceCache:
    """All regions as one tensor on the training device; batches are gathered there and nothing travels.

    The tensor is allocated at once and filled when the first batch is asked for. Only the process that made it can use
    it: workers of a loader cannot.

    Args:
        shape, dtype, read_into, make_batch: see :class:`MemoryCache`.
        device: where it lies.
    """

    def __init__(
        self, shape: tuple[int, ...], dtype: np.dtype, read_into: ReadInto, make_batch: MakeBatch, device: torch.device
    ) -> None:
        kind = torch.from_numpy(np.empty(0, dtype)).dtype
        self._tokens = torch.empty(shape, dtype=kind, device=device)
        self._read_into, self._make_batch = read_into, make_batch
        self._is_filled, self._lock = False, threading.Lock()

    def read(self, indices: NDArray[np.int64]) -> Tensor:
        """Token grids [n, P, P, D] on the device; the host does not wait for them."""
        with self._lock:
            if not self._is_filled:
                self._fill()
                self._is_filled = True
        numbers = torch.from_numpy(indices).to(self._tokens.device, non_blocking=True)
        return self._tokens.index_select(0, numbers)

    def _fill(self) -> None:
        n = len(self._tokens)
        with Progress(total=n, desc=f"tokens to {self._tokens.device}", unit="region") as bar:
            for start in range(0, n, _FILL_STEP):
                regions = np.arange(start, min(start + _FILL_STEP, n))
                part = self._make_batch(len(regions))
                self._read_into(regions, part.numpy(), np.arange(len(regions)))
                # memory that is not pinned is staged before this returns, pinned memory is kept until it was copied
                self._tokens[start : start + len(regions)].copy_(part, non_blocking=True)
                bar.update(len(regions))


Cache = MemoryCache | DeviceCache


def make_cache(
    cache: str,
    share: float,
    device: torch.device,
    shape: tuple[int, ...],
    dtype: np.dtype,
    read_into: ReadInto,
    make_batch: MakeBatch,
) -> Cache | None:
    """The cache that was asked for, or that fits; None keeps nothing.

    Raises:
        BundleError: no such choice, or no room for it.
    """
    if cache not in _CHOICES:
        raise BundleError(f"cache is {cache!r}; choose {', '.join(_CHOICES[:-1])} or {_CHOICES[-1]}.")
    needed = int(np.prod(shape)) * dtype.itemsize
    if cache == "device" or (cache == "auto" and device.type != "cpu" and needed <= share * free_on(device)):
        _check_room(cache, needed, free_on(device), f"on {device}")
        return DeviceCache(shape, dtype, read_into, make_batch, device)
    free = free_on(torch.device("cpu"))
    if cache == "none" or (cache == "auto" and needed > share * free):
        return None
    _check_room(cache, needed, free, "a process")
    try:
        return MemoryCache(shape, dtype, read_into, make_batch)
    except OSError as error:
        logger.warning("regions are not kept in memory: %s", error)
        return None


def free_on(device: torch.device) -> int:
    """Bytes that are free: of a GPU, or of this process's share of the machine's memory."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return available_memory() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def _check_room(cache: str, needed: int, free: int, where: str) -> None:
    if needed > free:
        raise BundleError(
            f"cache={cache} needs {needed / 1e9:.1f} GB {where} and {free / 1e9:.1f} GB are free; "
            "choose cache=auto or none."
        )


def shared_array(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """Zeros in anonymous memory that processes forked later share; pages count only once they are written.

    Unlike torch's shared tensors it needs no room in ``/dev/shm``, which containers keep small.

    Raises:
        OSError: the system does not promise that much memory.
    """
    n_bytes = max(1, int(np.prod(shape)) * np.dtype(dtype).itemsize)
    memory = mmap.mmap(-1, n_bytes)
    return np.frombuffer(memory, dtype=dtype, count=int(np.prod(shape))).reshape(shape)
