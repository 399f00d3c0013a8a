"""How much memory is free, and memory that forked workers share."""

import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def available_memory() -> int:
    """Bytes that can be used now without swapping, within the limits of a container."""
    limits = [_available_on_machine()]
    for root, limit, usage in (
        ("/sys/fs/cgroup", "memory.max", "memory.current"),
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        allowed, used = _number(Path(root, limit)), _number(Path(root, usage))
        if allowed is not None and used is not None:
            limits.append(allowed - used + _reclaimable(Path(root, "memory.stat")))
    return max(0, min(limits))


def shared_array(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """Zeros in anonymous memory that processes forked later share; pages count only once they are written.

    Unlike torch's shared tensors it needs no room in ``/dev/shm``, which containers keep small.

    Raises:
        OSError: the system does not promise that much memory.
    """
    n_bytes = max(1, int(np.prod(shape)) * np.dtype(dtype).itemsize)
    memory = mmap.mmap(-1, n_bytes)
    return np.frombuffer(memory, dtype=dtype, count=int(np.prod(shape))).reshape(shape)


def _available_on_machine() -> int:
    table = Path("/proc/meminfo")
    if table.is_file():
        for line in table.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _reclaimable(statistics: Path) -> int:
    """Cached file pages, which a container's usage counts but gives up when asked."""
    if not statistics.is_file():
        return 0
    for line in statistics.read_text().splitlines():
        name, _, value = line.partition(" ")
        if name in ("inactive_file", "total_inactive_file"):
            return int(value)
    return 0


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # no such limit, or the word "max"
        return None
