"""A folder of slides as a flat folder of links, which is what a MONAI Label datastore lists."""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from ..core import BundleError
from ..slides import find_slides

_LOOK_AGAIN_AFTER_S = 5.0
_UPLOAD = re.compile(r"tmp[a-z0-9_]{8}(\..*)?", re.DOTALL)  # as Python's tempfile calls it; Label adds the suffix


class LinkedStudies:
    """Links ``<slide_id><suffix>`` to the slides of a folder, found in depth; the folder itself is never written to.

    Files of a link folder that are no links (uploads) are left alone.

    Args:
        studies: folder of slides.
        folder: where the links go.
    """

    def __init__(self, studies: str | Path, folder: str | Path) -> None:
        self.studies, self.folder = Path(studies).resolve(), Path(folder)
        self._looked_s = -_LOOK_AGAIN_AFTER_S

    def refresh(self, *, is_forced: bool = False) -> None:
        """Make the links those of the slides that are there now; at most every few seconds, unless forced."""
        if not is_forced and time.monotonic() - self._looked_s < _LOOK_AGAIN_AFTER_S:
            return
        try:
            found = find_slides(self.studies)
        except BundleError:  # no slide yet: somebody may still be copying
            found = []
        follow(self.folder, {f"{slide.slide_id}{slide.path.suffix}": slide.path.resolve() for slide in found})
        self._looked_s = time.monotonic()


def follow(folder: Path, wanted: Mapping[str, Path]) -> None:
    """Make the links of a folder (name -> target) those that are wanted; files that are no links are left alone."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.is_symlink() and Path(os.readlink(path)) != wanted.get(path.name):
            path.unlink()
    for name, target in wanted.items():
        link = folder / name
        if not link.is_symlink() and not link.exists():
            link.symlink_to(target)


def is_plain_name(name: str) -> bool:
    """Whether a client's name for a file stays in the folder that it is put into, and is not hidden there."""
    return bool(name) and name == Path(name).name and not name.startswith(".") and "\0" not in name


def find_upload(image: str) -> Path | None:
    """The file that MONAI Label has put an upload into, if ``image`` is one: directly in the folder of temporary files.

    ``image`` is what a client has sent. Any other file of the machine is None, whether it exists or not, and so is a
    link to it.
    """
    try:
        path = Path(image).resolve(strict=True)
        is_upload = path.parent == Path(tempfile.gettempdir()).resolve() and path.is_file()
    except (OSError, RuntimeError, ValueError):  # none there, a loop of links, a zero byte
        return None
    return path if is_upload and _UPLOAD.fullmatch(path.name) else None
