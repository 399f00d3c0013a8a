"""The studies as MONAI Label stores them: slides are read only, uploads have their folder. Needs Label."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import HTTPException  # type: ignore[import-not-found]
from monailabel.datastore.local import LocalDatastore  # type: ignore[import-not-found]

from ..cohort import SLIDE_SUFFIXES
from .studies import is_plain_name

_SERVED = [suffix for suffix in SLIDE_SUFFIXES if suffix != ".dcm"]  # a series is a folder, not a file


class StudiesDatastore(LocalDatastore):
    """A folder of links to slides, beside uploads and labels.

    Label's own store follows the links: clients would write over slides of the studies, or delete them. It also takes
    names with folders in them, by which a client writes anywhere.

    Args:
        folder: of this store; its folder ``slides`` has the links.
    """

    def __init__(self, folder: Path) -> None:
        patterns = [s for suffix in _SERVED for s in (f"*{suffix}", f"*{suffix.upper()}")]
        self._links = folder / "slides"
        super().__init__(str(folder), images_dir="slides", extensions=patterns, auto_reload=False)

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        """Keep an uploaded slide.

        Raises:
            HTTPException: 403 where a slide of the studies has the name, 422 where it is no name or no slide's suffix.
        """
        suffix = Path(image_filename).suffix
        if suffix.lower() not in _SERVED:
            raise HTTPException(422, f"an upload that ends in {suffix!r} is no slide; served: {', '.join(_SERVED)}.")
        if image_id:
            _insist_on_a_name(image_id, "image")
            self._spare_studies(image_id)
        return str(super().add_image(image_id, image_filename, image_info))

    def remove_image(self, image_id: str) -> None:
        """Remove an upload.

        Raises:
            HTTPException: 403 for a slide of the studies.
        """
        self._spare_studies(image_id)
        super().remove_image(image_id)

    def save_label(self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]) -> str:
        """Keep a label.

        Raises:
            HTTPException: 422 where the tag is no plain name.
        """
        _insist_on_a_name(label_tag, "tag")
        return str(super().save_label(image_id, label_filename, label_tag, label_info))

    def _spare_studies(self, image_id: str) -> None:
        if any(path.is_symlink() and path.stem == image_id for path in self._links.iterdir()):
            raise HTTPException(403, f"{image_id} is a slide of the studies: the server writes nothing there.")


def _insist_on_a_name(name: str, what: str) -> None:
    if not is_plain_name(name):
        raise HTTPException(422, f"{what} is {name!r}; give a name without folders.")
