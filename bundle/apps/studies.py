"""A folder of slides as a flat folder of links, which is what a MONAI Label datastore lists."""

from __future__ import annotations

import os
import time
from pathlib import Path

from ..cohort import BundleError, find_slides

_LOOK_AGAIN_AFTER_S = 5.0


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
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            found = find_slides(self.studies)
        except BundleError:  # no slide yet: somebody may still be copying
            found = []
        wanted = {f"{slide.slide_id}{slide.path.suffix}": str(slide.path.resolve()) for slide in found}
        for path in self.folder.iterdir():
            if path.is_symlink() and os.readlink(path) != wanted.get(path.name):
                path.unlink()
        for name, target in wanted.items():
            link = self.folder / name
            if not link.is_symlink() and not link.exists():
                link.symlink_to(target)
        self._looked_s = time.monotonic()
