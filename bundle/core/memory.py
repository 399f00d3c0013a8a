"""How much memory there is."""

from __future__ import annotations

import os
from pathlib import Path


def available_memory() -> int:
    """Bytes that can be used now without swapping, within the limits of a container."""
    half = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    free_kb = _table(Path("/proc/meminfo")).get("MemAvailable")
    limits = [half if free_kb is None else free_kb * 1024]
    for root, limit, usage in (
        ("/sys/fs/cgroup", "memory.max", "memory.current"),
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        allowed, used = _number(Path(root, limit)), _number(Path(root, usage))
        if allowed is not None and used is not None:
            # of what is in use, pages of files are given up when asked
            limits.append(allowed - used + _table(Path(root, "memory.stat")).get("inactive_file", 0))
    return max(0, min(limits))


def _table(path: Path) -> dict[str, int]:
    """Numbers by name in one of the system's files; none where it has no such file."""
    lines = path.read_text().splitlines() if path.is_file() else []
    return {line.split()[0].rstrip(":"): int(line.split()[1]) for line in lines}


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # no such limit, or the word "max"
        return None
