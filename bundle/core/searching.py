"""Files of a folder and of what is linked into it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from .atomic import scratch_folder

_ESCAPED = 0xDC00  # Python's own mark for a byte that is no UTF-8, with the byte added
_log = logging.getLogger(__name__)


def files_below(
    root: str | Path, suffixes: Sequence[str] | None = None, *, dead: bool = False, is_quiet: bool = False
) -> list[Path]:
    """Files in depth, sorted; links to files and to folders are followed.

    Each folder is looked at once, whatever leads to it: by the path that has fewest links in it, so that a link never
    changes what a file was called without it. A link back to a folder above the search is not followed. Hidden files
    are left out.

    Args:
        root: a folder; links below it are named in a warning where they lead nowhere.
        suffixes: in lower case, of the files that are wanted, in capitals or not; None: all.
        is_quiet: without that warning.
        dead: links of these suffixes that lead nowhere are files, too, for a caller who reports each by itself.
    """
    root = Path(root)
    found: list[Path] = []
    lost: list[Path] = []
    for path in _walk(root):
        is_wanted = suffixes is None or path.suffix.lower() in suffixes
        if path.is_file():
            found += [path] * is_wanted
        elif path.is_symlink():
            (found if dead and is_wanted else lost).append(path)
    if lost and not is_quiet:
        text = "%s: %d links lead nowhere and are left out: %s"
        _log.warning(text, root, len(lost), ", ".join(readable(str(p)) for p in sorted(lost)[:5]))
    return sorted(found)


def readable(text: str) -> str:
    """A name as text that can be stored and shown: bytes that are no UTF-8 as %FC, all else as it is."""
    if text.isascii():
        return text
    return "".join(f"%{ord(c) - _ESCAPED:02X}" if 0x80 <= ord(c) - _ESCAPED <= 0xFF else c for c in text)


def tells_no_names_apart(one: Path, other: Path) -> bool:
    """Whether a file system takes two names in one folder for one; tried in the nearest folder that is there."""
    folder = next((parent for parent in one.absolute().parents if parent.is_dir()), None)
    if folder is None or not os.access(folder, os.W_OK):
        return False
    try:
        with scratch_folder(folder, "names") as trial:
            (trial / one.name).touch()
            return (trial / other.name).exists()
    except OSError:  # a name too long, a full disk: found again where it matters
        return False


def _walk(root: Path) -> Iterator[Path]:
    """All that is no folder and not hidden; linked folders after the others, those found earlier first."""
    above = {_identity(folder) for folder in (root.resolve(), *root.resolve().parents)}
    seen: set[tuple[int, int] | None] = {None}
    waiting = [root]
    while waiting:
        linked: list[Path] = []
        for start in waiting:
            if start is not root and (_identity(start) in above or _identity(start) in seen):
                continue
            yield from _own(start, seen, linked.append)
        waiting = sorted(linked)


def _own(start: Path, seen: set[tuple[int, int] | None], put_off: Callable[[Path], None]) -> Iterator[Path]:
    """What lies below a folder but for linked folders, which are put off."""
    for folder, folders, files in os.walk(start):
        here = Path(folder)
        if _identity(here) in seen:
            folders.clear()
            continue
        seen.add(_identity(here))
        for name in [name for name in folders if (here / name).is_symlink()]:
            put_off(here / name)
        yield from (here / name for name in files if not name.startswith("."))


def _identity(folder: Path) -> tuple[int, int] | None:
    """What a folder is, whatever it is called; None where it is gone."""
    try:
        stat = folder.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino
