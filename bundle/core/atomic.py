"""Files that are either complete or absent, and either the old ones or the new ones."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any

from .errors import BundleError

_HOST = socket.gethostname().replace(".", "_")  # one word of a temporary name, so that no other machine's ends with it
_ASIDE = ".old"  # what an old folder is called while a new one takes its name
_MOST_NAME_BYTES = 255
_FOREIGN_PART_AGE_S = 24 * 3600  # another machine may write to the same folder: nobody can ask if its process lives


class Replacement:
    """A file, or a folder, that takes its name when it is complete; what was there before is intact until then.

    Made under a temporary name beside it, with ``with Replacement(path) as part:``, or with :meth:`commit` and
    :meth:`discard`. An error leaves nothing of it. What killed processes left in the folder goes when a process begins
    its first one there (:func:`remove_stale_parts`).

    Args:
        path: its final name, in a folder that is there.
        flush: it survives a power cut, too; for files.

    Attributes:
        part: the temporary name; nothing is there at first.
    """

    def __init__(self, path: str | Path, *, flush: bool = False) -> None:
        self.path, self.flush = Path(path), flush
        self.part = self.path.with_name(f".{_short(self.path.name)}.{_HOST}.{os.getpid()}.tmp")

    def __enter__(self) -> Path:
        _tidy(self.path.parent.absolute())
        _remove(self.part)
        return self.part

    def commit(self) -> None:
        """Give it its name.

        Raises:
            OSError: that cannot be done; the temporary file is gone then.
        """
        try:
            if self.flush:
                _flush(self.part, os.O_RDWR)
            if self.part.is_dir() and self.path.is_dir():
                self._replace_folder()
            else:
                os.replace(self.part, self.path)
            if self.flush and os.name == "posix":  # elsewhere folders cannot be opened
                _flush(self.path.parent, os.O_RDONLY)
        finally:
            self.discard()  # where both names are one file already, renaming does nothing

    def _replace_folder(self) -> None:
        """The old one steps aside first, and back where the new one cannot take its name."""
        aside = self.part.with_name(self.part.name + _ASIDE)
        os.replace(self.path, aside)
        try:
            os.replace(self.part, self.path)
        except BaseException:
            os.replace(aside, self.path)
            raise
        shutil.rmtree(aside)

    def discard(self) -> None:
        """Remove what there is of it."""
        with contextlib.suppress(OSError):  # the error that led here is the one to report
            _remove(self.part)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.commit()
        else:
            self.discard()


def write_text(path: str | Path, text: str) -> None:
    """Write as :class:`Replacement`: where it fails (a full disk) the file of before stays as it was.

    What no encoding has (half a surrogate pair, of a name or a file that is no text) is written as ``\\udc80``.

    Raises:
        OSError: it cannot be written; the temporary file is gone then.
    """
    write_bytes(path, text.encode(errors="backslashreplace"))


def write_bytes(path: str | Path, contents: bytes, *, flush: bool = False) -> None:
    """As :func:`write_text`, for what is no text; ``flush``: it survives a power cut, too."""
    with Replacement(path, flush=flush) as part:
        part.write_bytes(contents)


def save_atomically(obj: Any, path: str | Path) -> None:
    """Write with ``torch.save``, flushed to disk, as :class:`Replacement`.

    A kill or a full disk at any moment leaves the file of before intact. Folders are made as needed. What killed
    processes left behind beside the file is removed.

    Args:
        obj: a state dict or a checkpoint.
        path: the file's final name.

    Raises:
        BundleError: the file cannot be written (disk full, no permission); the temporary file is gone then.
    """
    save_together({Path(path): obj})


def save_together(objects: Mapping[Path, Any]) -> None:
    """As :func:`save_atomically`, several files: all are written before the first takes its name, in their order.

    Raises:
        BundleError: one of them cannot be written; the files of before are intact then.
    """
    import torch  # takes seconds, which a command that is mistyped need not wait

    with contextlib.ExitStack() as names:
        parts = {path: names.enter_context(_lasting(path)) for path in reversed(list(objects))}  # the last ends first
        for path, part in parts.items():
            with part.open("wb") as file:
                torch.save(objects[path], file)


def link_atomically(source: Path, path: str | Path) -> None:
    """Give the contents of a finished file a second name, without writing them again where the file system can.

    One file under two names is safe, because files here are never written in place: replacing one gives its name to a
    new file, and the other name keeps the old one.

    Raises:
        BundleError: it cannot be done; the file of before is intact then.
    """
    with _lasting(Path(path)) as part:
        try:
            os.link(source, part)
        except OSError:  # FAT, some network file systems, or too many names
            shutil.copyfile(source, part)


@contextlib.contextmanager
def scratch_folder(beside: str | Path, what: str) -> Iterator[Path]:
    """A hidden folder for the time of a block; the next one of its kind removes those of killed processes.

    Args:
        beside: the folder that it lies in.
        what: a word for its name.
    """
    with contextlib.suppress(OSError):  # another user's, in a folder that all write to
        remove_stale_parts(beside, what)
    with tempfile.TemporaryDirectory(dir=beside, prefix=f".{what}.", suffix=f".{_HOST}.{os.getpid()}.tmp") as folder:
        yield Path(folder)


def remove_stale_parts(folder: str | Path, pattern: str = "*") -> list[Path]:
    """Remove what a :class:`Replacement` left whose process has died (of other machines: what is older than a day).

    An old folder that had stepped aside for a new one steps back, if the new one has not taken its name.

    Args:
        folder: where.
        pattern: of the final names, as of ``glob``.

    Returns:
        What was removed.
    """
    removed = []
    for aside in Path(folder).glob(f".{pattern}.*.tmp{_ASIDE}"):
        with contextlib.suppress(FileNotFoundError):  # another process was quicker
            if _is_stale(name := aside.name.removesuffix(_ASIDE), aside):
                final = aside.with_name(name.rsplit(".", 3)[0].removeprefix("."))
                if final.exists():
                    _remove(aside)
                    removed.append(aside)
                else:
                    os.replace(aside, final)
    for part in Path(folder).glob(f".{pattern}.*.tmp"):
        with contextlib.suppress(FileNotFoundError):
            if _is_stale(part.name, part):
                _remove(part)
                removed.append(part)
    return removed


def _is_stale(name: str, path: Path) -> bool:
    """Nobody writes a part of this name any more."""
    start, _, pid = name.removesuffix(".tmp").rpartition(".")
    if not pid.isdecimal():
        return False
    if start.rpartition(".")[2] == _HOST:
        return not is_alive(int(pid))
    now_s = time.time()
    with contextlib.suppress(OSError):
        now_s = file_system_time_ns(path.parent) / 1e9
    return now_s - path.stat().st_mtime > _FOREIGN_PART_AGE_S


def file_system_time_ns(folder: Path) -> int:
    """Now, by the clock that stamps the folder's files: on a shared file system that is not always this machine's.

    Raises:
        OSError: nothing can be written there.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        return os.fstat(file.fileno()).st_mtime_ns


@lru_cache(1024)
def _tidy(folder: Path) -> None:
    """Once a folder: looking through thousands of files takes longer than a small slide."""
    with contextlib.suppress(OSError):  # whatever is wrong with the folder is found again by who writes there
        remove_stale_parts(folder)


def is_alive(pid: int) -> bool:
    """Whether a process of this machine still runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextlib.contextmanager
def _lasting(path: Path) -> Iterator[Path]:
    """A flushed :class:`Replacement` in a folder that is made and tidied; trouble is told to the user."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_stale_parts(path.parent, glob.escape(_short(path.name)))
        with Replacement(path, flush=True) as part:
            yield part
    except (OSError, RuntimeError) as error:  # torch turns a failed write into a RuntimeError
        before = "The file of before is intact. " if path.exists() else ""
        raise BundleError(
            f"{path} cannot be written ({_reason(error)}). {before}Free some space, or choose another folder."
        ) from error


def _reason(error: BaseException) -> str:
    cause = error.__context__
    return str(cause if isinstance(error, RuntimeError) and isinstance(cause, OSError) else error).splitlines()[0]


def _short(name: str) -> str:
    """A name that leaves room for what is added to it: names have up to 255 bytes. It ends as the whole one does."""
    room = _MOST_NAME_BYTES - len(f"..{_HOST}.{2**32}.tmp.old".encode())
    if len(os.fsencode(name)) <= room:
        return name
    digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
    return f"{digest}{Path(name).suffix[:16]}"


def _flush(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
