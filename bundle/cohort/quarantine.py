"""Slides that are left out: a list of ids with a reason each, which one command writes and the others take."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..core import BundleError, write_text
from .slide_ids import SlideRef
from .slide_names import TableNames, path_from

_HEAD = (
    "# Slides to leave out: --exclude THIS_FILE. A slide a line: its id (or file name, or path), a tab, the reason.\n"
)
_log = logging.getLogger(__name__)


def write_quarantine(path: Path, reasons: Mapping[str, str]) -> None:
    """Write the list; a reader sees the old one or the new one, nothing between.

    Args:
        path: of the file, in a folder that is there.
        reasons: of each slide id, in any number of lines.

    Raises:
        BundleError: it cannot be written.
    """
    lines = [f"{slide_id}\t{' '.join(reason.split())}\n" for slide_id, reason in reasons.items()]
    try:
        write_text(path, _HEAD + "".join(lines))
    except OSError as error:
        raise BundleError(f"the list {path} cannot be written: {error.strerror}. Choose another output_dir.") from error


def read_quarantine(path: str | Path) -> dict[str, str]:
    """Reason of each name that the file lists, "" where it gives none; lines that begin with ``# `` are comments.

    Raises:
        BundleError: there is no such file, or it is no text in UTF-8.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError) as error:
        raise BundleError(
            f"the list of slides to leave out, {path}, cannot be read ({error}): give a text file with a slide a line."
        ) from error
    lines = (line.partition("\t") for line in text.splitlines() if not line.startswith(("# ", "#\t")))
    return {name.strip(): reason.strip() for name, _, reason in lines if name.strip()}


def without_excluded(refs: Sequence[SlideRef], path: str | Path, base: Path) -> list[SlideRef]:
    """The slides that a list does not name; how many it leaves out, and which names are no slide's, is logged.

    Args:
        refs: all slides.
        path: the list, see :func:`read_quarantine`; a slide is named as in a slide table.
        base: the folder from which paths count.

    Raises:
        BundleError: the list cannot be read, or leaves no slide.
    """
    listed = read_quarantine(path)
    names = TableNames(listed, str(path))
    names.own([(ref.slide_id, path_from(ref.path, base)) for ref in refs], are_whole=True)
    found = {slide_id: hit for slide_id, hit in names.find_all([(r.slide_id, r.path) for r in refs]).items() if hit}
    kept = [ref for ref in refs if ref.slide_id not in found]
    _log.info("%s: %d of %d slides are left out", path, len(found), len(refs))
    taken = {hit.name for hit in found.values()}
    if strangers := [name for name in listed if name not in taken]:
        _log.warning("%s: %d names are no slide here, such as %s", path, len(strangers), ", ".join(strangers[:5]))
    if not kept:
        raise BundleError(f"{path} leaves out all {len(refs)} slides of {base}: shorten it, or leave --exclude out.")
    return kept
