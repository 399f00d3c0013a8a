"""One writer of a folder at a time."""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import BundleError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK = ".writer.lock"
_NOT_OURS_TO_WRITE = (errno.EACCES, errno.EPERM, errno.EROFS)
_IN_USE = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)
_log = logging.getLogger(__name__)


@contextmanager
def writer_lock(folder: Path, what: str, setting: str, meanwhile: str = "", waits: bool = False) -> Iterator[None]:
    """Be the only one who writes to a folder; readers are not hindered.

    The system gives the lock back when its process ends, however that happens: the file that stays behind locks
    nothing. Its text says who had it last. Where the file system has no locks, a warning is given instead.

    Args:
        folder: made where it is missing.
        what: lies in it, for messages: "search index".
        setting: gives the folder, for messages: "index_dir".
        meanwhile: a sentence on what can be done while another process writes.
        waits: until the other process is done, which is no error then.

    Raises:
        BundleError: another process writes; or the folder cannot be made or written to.
    """
    handle = None if fcntl is None else _open(folder, what, setting)
    if handle is None:
        yield
        return
    try:
        if waits:
            _wait(handle, folder, what)
        _lock(handle, folder, what, setting, meanwhile)
        yield
    finally:
        os.close(handle)


def _open(folder: Path, what: str, setting: str) -> int | None:
    """The lock's file; None where this user may not write to the folder, whatever is tried there then fails by itself.

    A file that another user has made may be there to read only, which is enough for a lock on a local file system.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        with suppress(OSError):  # another user's, who may have closed it to others
            os.fchmod(handle, 0o666)
        return handle
    except OSError as error:
        if error.errno not in _NOT_OURS_TO_WRITE:
            raise BundleError(
                f"the {what} cannot be written to {folder} ({error.strerror}): make room, or choose another {setting}."
            ) from error
    with suppress(OSError):
        return os.open(folder / LOCK, os.O_RDONLY)
    return None


def _wait(handle: int, folder: Path, what: str) -> None:
    """Until nobody else has the lock; whatever else the system has against it is found again by :func:`_lock`."""
    with suppress(OSError):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _log.info("the %s %s is being written by %s, which is waited for", what, folder, _holder(handle))
            fcntl.flock(handle, fcntl.LOCK_EX)


def _lock(handle: int, folder: Path, what: str, setting: str, meanwhile: str) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _IN_USE:
            raise BundleError(
                f"the {what} {folder} is being written by {_holder(handle)}: wait until it is done, or choose another "
                f"{setting}. {meanwhile}".rstrip()
            ) from error
        if error.errno == errno.EBADF:
            raise BundleError(
                f"{folder / LOCK} is another user's and cannot be written to, which a lock needs on this file system: "
                f"let its owner allow it (chmod 666 {LOCK}), or choose another {setting}."
            ) from error
        _log.warning(
            "the file system of %s has no locks (%s): make sure that nobody else writes to it", folder, error.strerror
        )
        return
    with suppress(OSError):  # opened to read only, or a full disk: the lock holds without the text
        os.truncate(handle, 0)
        os.write(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode())


def _holder(handle: int) -> str:
    with suppress(OSError, UnicodeDecodeError):
        return os.pread(handle, 300, 0).decode().strip() or "another process"
    return "another process"
