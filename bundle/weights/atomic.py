"""Files that are either complete or absent."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path
from typing import Any

import torch

from ..cohort import BundleError


def save_atomically(obj: Any, path: str | Path) -> None:
    """Write with ``torch.save`` under a temporary name, flush to disk, rename.

    A kill or a full disk at any moment leaves the file of before intact. Folders are made as needed. What killed
    processes of this machine left behind beside the file is removed.

    Args:
        obj: a state dict or a checkpoint.
        path: the file's final name.

    Raises:
        BundleError: the file cannot be written (disk full, no permission); the temporary file is gone then.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(path)
        with part.open("wb") as file:
            torch.save(obj, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
        _sync_folder(path.parent)
    except (OSError, RuntimeError) as error:  # torch turns a failed write into a RuntimeError
        _discard(part)
        before = "The file of before is intact. " if path.exists() else ""
        raise BundleError(
            f"{path} cannot be written ({_reason(error)}). {before}Free some space, or choose another folder."
        ) from error
    except BaseException:
        _discard(part)
        raise


def _discard(part: Path) -> None:
    with contextlib.suppress(OSError):  # the error that led here is the one to report
        part.unlink(missing_ok=True)


def _reason(error: BaseException) -> str:
    cause = error.__context__
    return str(cause if isinstance(error, RuntimeError) and isinstance(cause, OSError) else error).splitlines()[0]


def _remove_stale(path: Path) -> None:
    start = f".{path.name}.{socket.gethostname()}."
    for other in path.parent.glob(".*.tmp"):
        pid = other.name.removeprefix(start).removesuffix(".tmp")
        if other.name.startswith(start) and pid.isdecimal() and not _is_alive(int(pid)):
            other.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _sync_folder(folder: Path) -> None:
    """Make the rename itself survive a power cut, where the system lets folders be opened."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
