"""Files that are either complete or absent."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from .errors import BundleError
from .files import flush_file, flush_folder, is_alive


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

    def write(part: Path) -> None:
        with part.open("wb") as file:
            torch.save(obj, file)
            flush_file(file)

    _put(Path(path), write)


def link_atomically(source: Path, path: str | Path) -> None:
    """Give the contents of a finished file a second name, without writing them again where the file system can.

    One file under two names is safe, because files here are never written in place: replacing one gives its name to a
    new file, and the other name keeps the old one.

    Raises:
        BundleError: it cannot be done; the file of before is intact then.
    """

    def write(part: Path) -> None:
        try:
            os.link(source, part)
        except OSError:  # FAT, some network file systems, or too many names
            shutil.copyfile(source, part)
            with part.open("rb+") as file:
                flush_file(file)

    _put(Path(path), write)


def _put(path: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` make a file under a temporary name beside ``path``, then rename it."""
    part = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(path)
        part.unlink(missing_ok=True)
        write(part)
        os.replace(part, path)
        flush_folder(path.parent)
    except (OSError, RuntimeError) as error:  # torch turns a failed write into a RuntimeError
        _discard(part)
        before = "The file of before is intact. " if path.exists() else ""
        raise BundleError(
            f"{path} cannot be written ({_reason(error)}). {before}Free some space, or choose another folder."
        ) from error
    except BaseException:
        _discard(part)
        raise
    # Where both names are one file already, renaming does nothing and leaves the temporary name.
    _discard(part)


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
        if other.name.startswith(start) and pid.isdecimal() and not is_alive(int(pid)):
            other.unlink(missing_ok=True)
