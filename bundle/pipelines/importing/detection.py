"""Whose files lie in a folder."""

from pathlib import Path

from ...core import BundleError
from .layouts.h5_patches import H5_LAYOUTS
from .layouts.layout import FeatureFile, Places
from .layouts.tables import TABLE_LAYOUTS
from .layouts.tensors import TENSOR_LAYOUTS

LAYOUTS = (*H5_LAYOUTS, *TABLE_LAYOUTS, *TENSOR_LAYOUTS)


def detect(places: Places) -> tuple[str, list[FeatureFile]]:
    """The layout's name and its slides, in the order of their paths.

    Raises:
        BundleError: nothing is there, nothing that is known, or one slide twice.
    """
    if not places.root.exists():
        raise BundleError(f"{places.root} does not exist: give the folder that holds the features.")
    for layout in LAYOUTS:
        slides = layout.slides(places)
        if slides:
            _insist_on_one_each(slides)
            return layout.name, slides
    raise BundleError(f"no features that can be read in {places.root}: {_what_is_there(places)}")


def _insist_on_one_each(slides: list[FeatureFile]) -> None:
    seen: dict[str, Path] = {}
    for slide in slides:
        if slide.slide_id in seen:
            raise BundleError(
                f"slide {slide.slide_id} has two files of features: {seen[slide.slide_id]} and {slide.path}. Give the "
                "folder of one run as dataset_dir."
            )
        seen[slide.slide_id] = slide.path


def _what_is_there(places: Places) -> str:
    known = ", ".join(layout.name for layout in LAYOUTS)
    root = places.root
    found = sorted(path.name for path in root.iterdir())[:5] if root.is_dir() else [root.name]
    return (
        f"it holds {', '.join(found) or 'nothing'}. Known are: {known} (docs/importing.md). Token files need no import."
    )
