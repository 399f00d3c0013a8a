"""Several processes in one folder: which of them makes what, and that they make it in the same way."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .errors import BundleError
from .lock import _IN_USE, _NOT_OURS_TO_WRITE, _close, _held, fcntl, open_for_all, taken, this_process, writer_lock

CLAIMS = ".in_use.lock"
_DOOR, _USED, _FIRST = 0, 1, 16  # bytes: who comes or goes, who is in, the first name
_NOW, _WAITS = (getattr(fcntl, name, None) for name in ("F_OFD_SETLK", "F_OFD_SETLKW"))  # Linux
_NO_LOCKS = (errno.ENOTSUP, errno.EINVAL, errno.ENOSYS, errno.ENOLCK)
_COMINGS = 1000  # how often the file may be gone just when it was opened
_log = logging.getLogger(__name__)


class Claims:
    """A process's share in a folder, from when it is made until :meth:`close`.

    Names are locked as bytes of one hidden file, for as long as its handle is open: the system gives them back however
    the process ends, NFS knows them, and the last one to leave removes the file. Where a file system, or the system,
    has no such locks, every claim is granted, and the file, which locks nothing, may stay.

    Args:
        folder: is there.
        what: lies in it, for messages.
        setting: gives the folder, for messages.
        kind: what all processes in the folder must have in common.

    Raises:
        BundleError: another process is in the folder with another kind; both are named. Or the file is another user's
            who keeps it to himself, or it cannot be locked for a reason other than that there are no locks.
    """

    def __init__(self, folder: Path, what: str, setting: str, kind: Mapping[str, Any] | None = None) -> None:
        self.path, self._what, self._setting = folder / CLAIMS, what, setting
        self._kind = json.loads(json.dumps(dict(kind or {}), default=str))
        self._holder = ""
        self._handle: int | None = None
        if _NOW is None:
            return
        try:
            self._enter()
        except BaseException:
            self._drop()
            raise

    def take(self, name: str, *, waits: bool = False) -> bool:
        """This process alone has the name from now on; False where another one has it."""
        place = _FIRST + _place(name)
        try:
            return self._lock(place, fcntl.F_WRLCK, waits=waits)
        except OSError as error:
            if error.errno == errno.ESTALE:  # the file is gone, and what was locked in it
                self._drop()
                self._enter()
                return self._lock(place, fcntl.F_WRLCK, waits=waits)
            if error.errno not in _NO_LOCKS:
                raise self._failed(error) from error
            _log.debug("%s could not be locked, and is taken as it is: %s", name, error.strerror)
            return True

    def give_back(self, name: str) -> None:
        """Others may have it."""
        with suppress(OSError):
            self._lock(_FIRST + _place(name), fcntl.F_UNLCK)

    def refuse(self, meanwhile: str = "") -> BundleError:
        """What to raise where a name is taken."""
        return taken(self._what, self.path.parent, self._holder or "another process", self._setting, meanwhile)

    def close(self) -> None:
        """Give everything back."""
        if self._handle is None:
            return
        with suppress(OSError):  # of a file that cannot be locked nobody knows who is in: it stays
            self._lock(_DOOR, fcntl.F_WRLCK, waits=True)
            if self._lock(_USED, fcntl.F_WRLCK) and self._is_there():  # nobody else is in, or comes in before the end
                self.path.unlink()
        self._drop()

    def _drop(self) -> None:
        if self._handle is not None:
            _close(self._handle)
            self._handle = None

    def _enter(self) -> None:
        for _ in range(_COMINGS):
            if not self._open():
                return
            try:
                self._lock(_DOOR, fcntl.F_WRLCK, waits=True)
                if self._is_there():
                    return self._go_in()
            except OSError as error:
                if error.errno in _NO_LOCKS:
                    _log.debug("the file system of %s has no locks: %s", self.path.parent, error.strerror)
                    return self._drop()
                if error.errno != errno.ESTALE:
                    raise self._failed(error) from error
            self._drop()  # the last one has left meanwhile, and taken the file along
        raise self._failed(OSError(errno.ESTALE, os.strerror(errno.ESTALE)))

    def _go_in(self) -> None:
        assert self._handle is not None
        if self._lock(_USED, fcntl.F_WRLCK):
            said = {"holder": this_process(), "kind": self._kind}
            with suppress(OSError):  # a full disk: the locks hold without the text
                os.truncate(self._handle, 0)
                os.pwrite(self._handle, json.dumps(said).encode(), 0)
        else:
            self._insist_on_kind()
        self._lock(_USED, fcntl.F_RDLCK)
        self._lock(_DOOR, fcntl.F_UNLCK)

    def _insist_on_kind(self) -> None:
        assert self._handle is not None
        try:
            said = json.loads(os.pread(self._handle, 1 << 16, 0))
            self._holder, theirs = str(said["holder"]), dict(said["kind"])
        except (OSError, ValueError, LookupError, TypeError):
            return
        for name, ours in self._kind.items():
            if theirs.get(name, ours) != ours:
                raise BundleError(
                    f"the {self._what} {self.path.parent} is being written by {self._holder} with {name} "
                    f"{theirs[name]}, this run would use {ours}: wait until it is done, or choose another "
                    f"{self._setting}."
                )

    def _open(self) -> bool:
        """False where this user may not write to the folder, whatever is tried there then fails by itself."""
        try:
            self._handle = open_for_all(self.path)
        except OSError as error:
            if error.errno not in _NOT_OURS_TO_WRITE:
                raise self._failed(error) from error
            if error.errno != errno.EROFS and os.path.lexists(self.path):
                raise BundleError(
                    f"{self.path} is another user's and cannot be written to, which a lock needs: let its owner allow "
                    f"it (chmod 666 {CLAIMS}), or choose another {self._setting}."
                ) from error
            return False
        _held.add(self._handle)
        return True

    def _failed(self, error: OSError) -> BundleError:
        return BundleError(
            f"the {self._what} cannot be written to {self.path.parent} ({CLAIMS}: {error.strerror}): make room, or "
            f"choose another {self._setting}."
        )

    def _is_there(self) -> bool:
        assert self._handle is not None
        with suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(self._handle), os.stat(self.path))
        return False

    def _lock(self, place: int, kind: int, *, waits: bool = False) -> bool:
        """False where another process has it. True as well where there are no locks.

        Raises:
            OSError: it cannot be locked.
        """
        if self._handle is None or _NOW is None or _WAITS is None:
            return True
        asked = struct.pack("hhqqi", kind, os.SEEK_SET, place, 1, 0)  # struct flock
        try:
            fcntl.fcntl(self._handle, _WAITS if waits else _NOW, asked)
        except OSError as error:
            if error.errno in _IN_USE:
                return False
            raise
        return True


def _place(name: str) -> int:
    return int.from_bytes(hashlib.sha256(os.fsencode(name)).digest()[:7], "big")


@contextmanager
def sole_run(folder: Path, what: str, setting: str, rank: int = 0, world_size: int = 1) -> Iterator[None]:
    """Be the only run that writes a folder's results, which is there; nothing of the lock stays.

    The ``world_size`` processes of one run share the folder. Where the system has no locks of bytes (macOS), one of a
    whole file takes their place for a run of one process, and that file stays.

    Raises:
        BundleError: another process does, which is named.
    """
    if _NOW is None and world_size == 1:
        with writer_lock(folder, what, setting):
            yield
        return
    claims = Claims(folder, what, setting, {"processes": world_size})
    try:
        if not claims.take("run" if world_size == 1 else f"process {rank}"):
            raise claims.refuse()
        yield
    finally:
        claims.close()
