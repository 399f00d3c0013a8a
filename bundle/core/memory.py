"""How much memory there is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_SYSTEM, _OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
_KINDS = (  # folder, which line of _OWN tells of it, limit, what is in use
    ("", "", "memory.max", "memory.current"),
    ("unified", "", "memory.max", "memory.current"),  # version 2 beside version 1
    ("memory", "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
)


def available_memory() -> int:
    """Bytes that can be used now without swapping, within the limits of a container or a job."""
    half = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    free_kb = _table(Path("/proc/meminfo")).get("MemAvailable")
    limits = [half if free_kb is None else free_kb * 1024]
    for folder, allowed, usage in _limits():
        used = _number(folder / usage)
        if used is not None:
            # of what is in use, pages of files are given up when asked
            limits.append(allowed - used + _table(folder / "memory.stat").get("inactive_file", 0))
    return max(0, min(limits))


def total_memory() -> int:
    """Bytes that this process may have at most: the machine's, or what a container or a job is limited to."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *(allowed for _, allowed, _ in _limits())])


def _limits() -> Iterator[tuple[Path, int, str]]:
    """Each limit: its folder, bytes, and the name of the file that says what is in use.

    Slurm limits a job some levels below the root, and any level may be the tightest. In a container the own path may
    be that on the host, of which the root is all that is seen.
    """
    own = _own_paths()
    for below, name, limit, usage in _KINDS:
        root = _SYSTEM / below
        at = root / own.get(name, "/").lstrip("/")
        for folder in (at, *at.parents) if root in at.parents else (root,):
            allowed = _number(folder / limit)
            if allowed is not None:
                yield folder, allowed, usage
            if folder == root:
                break


def _own_paths() -> dict[str, str]:
    """Where this process is, by controller; "" is version 2."""
    found: dict[str, str] = {}
    with suppress(OSError):
        for line in _OWN.read_text().splitlines():
            _, names, path = line.split(":", 2)
            found |= dict.fromkeys(names.split(","), path)
    return found


def _table(path: Path) -> dict[str, int]:
    """Numbers by name in one of the system's files; none where it has no such file."""
    lines = path.read_text().splitlines() if path.is_file() else []
    return {line.split()[0].rstrip(":"): int(line.split()[1]) for line in lines}


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # no such limit, or the word "max"
        return None
