"""Slides of a slow mount, copied to a disk nearby while others are read."""

from __future__ import annotations

import logging
import os
import shutil
import threading
from contextlib import ExitStack
from pathlib import Path

from ..core import as_number, insist_on_wanted, scratch_folder
from . import formats
from .first_page import first_page
from .images import RefusedFileError
from .recognizing import recognized

_PIECE = 8 << 20  # bytes between two looks at whether anybody still waits
_IN_ONE_FILE = (formats.TIFF, formats.SVS, formats.PHILIPS, formats.QPTIFF, formats.NDPI, formats.SCN, formats.BIF)
_log = logging.getLogger(__name__)


class LocalCopies:
    """Copies of slides, each there from before it is opened until it is closed.

    The copies lie in a folder of this process, below ``folder``, so that processes that share it know nothing of one
    another; what a killed one has left goes when the next begins. A copy has its name when it is complete. Where a
    slide cannot be copied (no room, a full disk, a format of several files) it is read where it is, and the log says so
    once.

    Args:
        folder: on a disk nearby; made where it is missing. None: nothing is copied.
        gigabytes: room that the copies of a run may take on a machine, shared evenly by its processes.

    Raises:
        SettingError: no room.
    """

    def __init__(self, folder: str | Path | None, gigabytes: float = 50.0) -> None:
        self.folder = None if folder is None else Path(folder)
        n_processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        self._left = int(as_number(gigabytes, "slide_cache_gb", 0.001, 1e6, "GB") * 1e9) // n_processes
        self._lock, self._own, self._number = threading.Lock(), ExitStack(), 0
        self._place: Path | None = None
        self._taken: dict[Path, int] = {}
        self._said: set[str] = set()

    def take(self, path: Path) -> Path:
        """The copy of a slide's file, made now; the file itself where there is to be none."""
        if self.folder is None or not self._is_one_file(path):
            return path
        try:
            size = path.stat().st_size
        except OSError:  # whoever opens it says so
            return path
        target = self._reserved(path, size)
        if target is None:
            return path
        try:
            _copy(path, target, size)
        except BaseException as error:
            self.give_back(target)
            if not isinstance(error, OSError):
                raise
            self._say(f"{path.name} cannot be copied to {self.folder} ({error.strerror or error})")
            return path
        return target

    def give_back(self, path: Path) -> None:
        """Remove a copy that :meth:`take` gave; other files are let alone."""
        with self._lock:
            size = self._taken.pop(path, None)
        if size is not None:
            shutil.rmtree(path.parent, ignore_errors=True)
            with self._lock:
                self._left += size

    def close(self) -> None:
        """Remove all copies."""
        with self._lock:
            self._left += sum(self._taken.values())
            self._taken.clear()
            self._own.close()
            self._place = None

    def _reserved(self, path: Path, size: int) -> Path | None:
        """Where a copy may be made; None where there is no room."""
        assert self.folder is not None
        try:
            with self._lock:
                if self._place is None:
                    self.folder.mkdir(parents=True, exist_ok=True)
                    self._place = self._own.enter_context(scratch_folder(self.folder, "slides"))
                free = min(self._left, shutil.disk_usage(self._place).free)
                if size <= free:
                    self._number += 1
                    target = self._place / str(self._number) / path.name
                    target.parent.mkdir()
                    self._taken[target], self._left = size, self._left - size
                    return target
        except OSError as error:
            self._say(f"nothing can be written to {self.folder} ({error.strerror or error})")
            return None
        self._say(f"{path.name} has {size / 1e9:.3g} GB, for {max(free, 0) / 1e9:.3g} GB of room in {self.folder}")
        return None

    def _is_one_file(self, path: Path) -> bool:
        try:
            kind = recognized(path)
        except (OSError, RefusedFileError):  # whoever opens it says so
            return False
        if kind in _IN_ONE_FILE or (kind is formats.OME and _ome_in_one_file(path)):
            return True
        if kind.readers:
            self._say(f"{path.name} is {kind.name}, of which a slide may be several files", kind.name)
        return False

    def _say(self, what: str, once: str = "") -> None:
        if once not in self._said:
            self._said.add(once)
            _log.warning("slide_cache: %s: such slides are read where they are; this is said once", what)


def _ome_in_one_file(path: Path) -> bool:
    """Whether an OME-TIFF names no other file in which images of it lie."""
    page = first_page(path)
    names = [] if page is None else [part.partition('"')[0] for part in page.description.split('FileName="')[1:]]
    return page is not None and "MetadataFile" not in page.description and set(names) <= {path.name}


def _copy(source: Path, target: Path, size: int) -> None:
    """Copy a file in pieces, under another name until it is complete.

    Raises:
        OSError: it cannot be read or written, or was cut short meanwhile.
        StoppedError: nobody waits for it any more.
    """
    part = target.with_name(f"{target.name}.part")
    n_copied = 0
    with source.open("rb", buffering=0) as found, part.open("wb", buffering=0) as copy:
        while piece := found.read(_PIECE):
            insist_on_wanted()
            view = memoryview(piece)
            while view:
                view = view[copy.write(view) :]
            n_copied += len(piece)
    if n_copied != size:
        raise OSError(f"it has {n_copied} bytes, and had {size}")
    part.rename(target)
