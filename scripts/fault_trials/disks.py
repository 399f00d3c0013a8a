"""Faults of a whole disk, on a small one that is mounted for the trial: full, or read-only. Needs root."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from .commands import Command
from .ground import Ground
from .outcomes import Outcome, as_unbroken, verdict

_PAGE = 4096  # bytes; a tmpfs counts whole pages


def may_mount() -> bool:
    """Whether this user may mount disks."""
    return os.name == "posix" and os.geteuid() == 0


@contextmanager
def _mounted(folder: Path, *options: str) -> Iterator[None]:
    done = subprocess.run(["mount", *options, str(folder)], capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"mount {' '.join(options)}: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def full(ground: Ground, command: Command, draw: Random, folder: Path) -> Outcome | None:
    """The disk of the output has room for a random share of what is written, then for all."""
    if not may_mount():
        return None
    out = folder / "out"
    files = [path.stat().st_size for path in (ground.unbroken(command) / "out").rglob("*") if path.is_file()]
    room = draw.randint(1, max(1, sum(-(-size // _PAGE) for size in files))) * _PAGE
    with _mounted(out, "-t", "tmpfs", "-o", f"size={room}", "tmpfs"):
        first = ground.run(command, folder)
        found = verdict(first)
        where = f"{room} bytes"
        if not found.is_good:
            return Outcome(found.kind, False, f"{where}: {found.detail}")
        subprocess.run(["mount", "-o", f"remount,size={room + (1 << 30)}", str(out)], check=True)
        again = verdict(ground.run(command, folder, is_again=True))
        if again.kind != "finished":
            return Outcome(f"told; with room {again.kind}", False, f"{where}: {again.detail}")
        what = "room enough" if found.kind == "finished" else "told; with room"
        return as_unbroken(ground.differences(command, folder), f"{what}: as unbroken", 1, f"{where}: {found.detail}")


def read_only(ground: Ground, command: Command, draw: Random, folder: Path) -> Outcome | None:
    """Nothing may be written where the output goes, from the start or after a kill; later it may."""
    if not may_mount():
        return None
    out = folder / "out"
    seconds, _ = ground.length(command)
    if draw.random() < 0.5:
        ground.start(command, folder).wait(draw.uniform(0.0, seconds))
    with _mounted(out, "--bind", str(out)):
        subprocess.run(["mount", "-o", "remount,bind,ro", str(out)], check=True)
        found = verdict(ground.run(command, folder, is_again=True), ["out/"])
    if found.kind == "finished" and not ground.differences(command, folder):
        return Outcome("was complete", True)
    if found.kind != "refused, named":
        return Outcome(found.kind, False, found.detail)
    again = verdict(ground.run(command, folder, is_again=True))
    if again.kind != "finished":
        return Outcome(f"told; writable {again.kind}", False, again.detail)
    return as_unbroken(ground.differences(command, folder), "told; writable: as unbroken", 1, found.detail)
