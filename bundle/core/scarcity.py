"""What a machine had too little of, in words: memory, shared memory, room on a disk, open files."""

from __future__ import annotations

import errno
import os
import re
import shutil
from contextlib import suppress
from pathlib import Path

from .errors import BundleError
from .memory import available_memory
from .signals import KEPT

SHARED = Path("/dev/shm")  # where processes that read hand over what they have read
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_ROOM_WORDS = ("No space left on device", "Disk quota exceeded")
_SHARED_WORDS = ("Bus error", "out of shared memory", "shared memory object", "unable to write to file </torch")
_MEMORY_WORDS = ("DefaultCPUAllocator", "could not create a primitive", "bad_alloc")  # the second: oneDNN's
_ASKED = re.compile(r"(?:allocate|mmap)\s+(\d[\d.]*)\s?(bytes|[KMGTPE]i?B)?")


class NoMemoryError(BundleError):
    """Memory ran out, the machine's or the GPU's."""


def ran_out(error: BaseException) -> BundleError | None:
    """What was asked for, what there is, and what to do, where an error says that something ran out; else None.
    Of memory it is a :class:`NoMemoryError`.

    Errors of processes that read for this one arrive with their text alone.
    """
    if isinstance(error, BundleError) or not isinstance(error, RuntimeError | MemoryError | OSError):
        return None
    text, number = f"{type(error).__name__} {error}", getattr(error, "errno", None)
    if type(error).__name__ == "OutOfMemoryError" or "CUDA out of memory" in text:
        what = f"the memory of the GPU ran out{_asked(text)}{_on_gpu()}"
        return _said(what, "lower --batch_size, or use a GPU with more", NoMemoryError)
    if number == errno.EMFILE or "Too many open files" in text:
        return _said("too many files are open at once", "raise the limit (ulimit -n 65536), or lower --num_workers")
    if any(words in text for words in _SHARED_WORDS):
        return _said(
            f"{SHARED}, by which reading processes hand over what they read, ran out{_room(SHARED)}",
            "give --num_workers 0, or fewer, a lower --batch_size, or more of it (docker run --shm-size 8g)",
        )
    if "signal: Killed" in text:
        return _said(
            f"a reading process was killed from outside, as the system does where memory runs out{_in_memory()}",
            "lower --num_workers or --batch_size, or ask for more memory (Slurm: --mem)",
        )
    if "can't start new thread" in text:
        return _said(
            f"no further thread could be started, for want of memory or by a limit{_in_memory()}",
            "lower --num_workers, raise the limits (ulimit -u, ulimit -v), or ask for more memory (Slurm: --mem)",
        )
    if isinstance(error, MemoryError) or number == errno.ENOMEM or any(words in text for words in _MEMORY_WORDS):
        return _said(
            f"memory ran out{_asked(text)}{_in_memory()}",
            "lower --batch_size or --num_workers, or ask for more memory (Slurm: --mem)",
            NoMemoryError,
        )
    if number in _FULL or any(words in text for words in _NO_ROOM_WORDS):
        return _said(f"no room to write{_where(error)}", "free some, or choose another folder")
    return None


def _said(what: str, advice: str, kind: type[BundleError] = BundleError) -> BundleError:
    return kind(f"{what}: {advice}. {KEPT}")


def _asked(text: str) -> str:
    found = _ASKED.search(text)
    if found is None:
        return ""
    size = found[1] if found[2] != "bytes" else ""
    return f"; {f'{size} {found[2]}'.strip() if size else _bytes(float(found[1]))} were asked for"


def _in_memory() -> str:
    try:
        return f"; {_bytes(available_memory())} are free"
    except (OSError, ValueError):  # a system without these files
        return ""


def _on_gpu() -> str:
    import torch  # takes seconds, which a command that is mistyped need not wait

    with suppress(RuntimeError, AssertionError):
        free, total = torch.cuda.mem_get_info()
        return f"; {_bytes(free)} of {_bytes(total)} are free"
    return ""


def _where(error: BaseException) -> str:
    name = getattr(error, "filename", None)
    if not isinstance(name, str):
        return ", the disk is full or a quota is reached"
    return f" {name}{_room(Path(os.path.abspath(name)).parent)}"


def _room(folder: Path) -> str:
    with suppress(OSError):
        found = shutil.disk_usage(folder)
        return f"; {_bytes(found.free)} of {_bytes(found.total)} are free"
    return ""


def _bytes(n: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if n < 1000:
            return f"{n:.3g} {unit}"
        n /= 1000
    return f"{n:.3g} PB"
