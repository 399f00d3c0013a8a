"""One writer of a folder at a time."""

from __future__ import annotations

import errno
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import SoftFileLock, Timeout

from .atomic import is_alive
from .errors import BundleError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK = ".writer.lock"
MARKER = ".writer.marker"  # where the file system has no locks: there while somebody writes
_NOT_OURS_TO_WRITE = (errno.EACCES, errno.EPERM, errno.EROFS)
_IN_USE = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)
_AS_IT_IS = getattr(os, "O_NOFOLLOW", 0)  # never what a link of somebody else's leads to
_LOOKS, _BETWEEN_LOOKS_S = 20, 0.05
_log = logging.getLogger(__name__)
_held: set[int] = set()  # handles; a forked process closes its copies, or it would hold the locks for longer


@contextmanager
def writer_lock(folder: Path, what: str, setting: str, meanwhile: str = "", waits: bool = False) -> Iterator[None]:
    """Be the only one who writes to a folder; readers are not hindered.

    The system gives the lock back when its process ends, however that happens: the file that stays behind locks
    nothing. Its text says who had it last. Where the file system has no locks, a marker file stands for it, by
    filelock: one that a process of this machine has left behind is taken over.

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
    with ExitStack() as held:
        _held.add(handle)
        held.callback(_close, handle)
        if waits:
            _wait(handle, folder, what)
        if not _lock(handle, folder, what, setting, meanwhile):
            held.enter_context(_marker(folder, what, setting, meanwhile, waits))
        yield


def _open(folder: Path, what: str, setting: str) -> int | None:
    """The lock's file; None where this user may not write to the folder, whatever is tried there then fails by itself.

    A file that another user has made may be there to read only, which is enough for a lock on a local file system.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return open_for_all(folder / LOCK)
    except OSError as error:
        if error.errno not in _NOT_OURS_TO_WRITE:
            raise BundleError(
                f"the {what} cannot be written to {folder} ({error.strerror}): make room, or choose another {setting}."
            ) from error
    with suppress(OSError):
        return os.open(folder / LOCK, os.O_RDONLY | _AS_IT_IS)
    return None


def open_for_all(path: Path) -> int:
    """A handle of a lock's file, which is made where it is missing, for all users to lock.

    Raises:
        OSError: it cannot be opened for writing.
        BundleError: it is a link, and leads nobody knows where.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | _AS_IT_IS, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise BundleError(f"{path} is a link, which no lock of ours is: remove it.") from error
        raise
    with suppress(OSError):  # another user's, who may have closed it to others
        os.fchmod(handle, 0o666)
    return handle


def _close(handle: int) -> None:
    if handle in _held:
        _held.remove(handle)
        os.close(handle)


def _close_copies() -> None:
    for handle in list(_held):
        _close(handle)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_copies)


def _wait(handle: int, folder: Path, what: str) -> None:
    """Until nobody else has the lock; whatever else the system has against it is found again by :func:`_lock`."""
    with suppress(OSError):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _log.info("the %s %s is being written by %s, which is waited for", what, folder, _holder(handle))
            fcntl.flock(handle, fcntl.LOCK_EX)


def _lock(handle: int, folder: Path, what: str, setting: str, meanwhile: str) -> bool:
    """False where the file system has no locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _IN_USE:
            raise taken(what, folder, _holder(handle), setting, meanwhile) from error
        if error.errno == errno.EBADF:
            raise BundleError(
                f"{folder / LOCK} is another user's and cannot be written to, which a lock needs on this file system: "
                f"let its owner allow it (chmod 666 {LOCK}), or choose another {setting}."
            ) from error
        _log.debug("the file system of %s has no locks: %s", folder, error.strerror)
        return False
    with suppress(OSError):  # opened to read only, or a full disk: the lock holds without the text
        os.truncate(handle, 0)
        os.write(handle, f"{this_process()}\n".encode())
    return True


@contextmanager
def _marker(folder: Path, what: str, setting: str, meanwhile: str, waits: bool) -> Iterator[None]:
    """Of this process, in place of a lock."""
    marker = SoftFileLock(folder / MARKER, timeout=-1 if waits else 0)
    try:
        marker.acquire()
    except Timeout as error:
        meanwhile = f"If that does not run any more, remove {folder / MARKER}. {meanwhile}"
        raise taken(what, folder, _owner(folder / MARKER), setting, meanwhile) from error
    try:
        yield
    finally:
        marker.release()


def _owner(marker: Path) -> str:
    """Of a marker: its first lines are a process and its host."""
    with suppress(OSError, ValueError):
        number, host, *_ = marker.read_text().split()
        return f"process {number} on {host}"
    return "another process"


def this_process() -> str:
    """By number and host."""
    return f"process {os.getpid()} on {socket.gethostname()}"


def taken(what: str, folder: Path, holder: str, setting: str, meanwhile: str) -> BundleError:
    """What to raise where another process writes."""
    return BundleError(
        f"the {what} {folder} is being written by {holder}: wait until it is done, or choose another {setting}. "
        f"{meanwhile}".rstrip()
    )


def _holder(handle: int) -> str:
    """Of a lock. Who has just got it may not have written its name yet: until then the one before stands there."""
    text = ""
    for _ in range(_LOOKS):
        with suppress(OSError, UnicodeDecodeError):
            text = os.pread(handle, 300, 0).decode().strip()
            if text and not _is_gone(text):
                break
        time.sleep(_BETWEEN_LOOKS_S)
    return text or "another process"


def _is_gone(holder: str) -> bool:
    with suppress(ValueError):
        _, number, _, host = holder.split()
        return host == socket.gethostname() and not is_alive(int(number))
    return False
