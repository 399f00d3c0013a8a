"""Whose files lie in a folder."""

import logging
from pathlib import Path

from ...core import BundleError
from .layouts.h5_patches import H5_LAYOUTS
from .layouts.layout import FeatureFile, Places, slide_name
from .layouts.tables import TABLE_LAYOUTS
from .layouts.tensors import TENSOR_LAYOUTS

logger = logging.getLogger(__name__)
_SUFFIXES = (".h5", ".hdf5", ".parquet", ".pt", ".pth", ".npz")
_COORDINATES = ("patches", "tiles")  # what folders of them are called
LAYOUTS = (*H5_LAYOUTS, *TABLE_LAYOUTS, *TENSOR_LAYOUTS)


def detect(places: Places) -> tuple[str, list[FeatureFile]]:
    """The layout's name and its slides, in the order of their paths.

    Raises:
        BundleError: nothing is there, nothing that is known, or one slide twice.
    """
    if not places.root.exists():
        raise BundleError(f"{places.root} does not exist: give the folder that holds the features.")
    name, slides = find_features(places)
    if not slides:
        raise BundleError(f"no features that can be read in {places.root}: {_what_is_there(places)}")
    _insist_on_one_each(slides)
    _say_what_is_left_alone(name, slides, places)
    return name, slides


def find_features(places: Places) -> tuple[str, list[FeatureFile]]:
    """The layout's name and its slides as they are; an empty name where nothing is known.

    Raises:
        BundleError: several encoders, none of them chosen.
    """
    for layout in LAYOUTS:
        slides = layout.slides(places)
        if slides:
            return layout.name, slides
    return "", []


def _insist_on_one_each(slides: list[FeatureFile]) -> None:
    seen: dict[str, Path] = {}
    for slide in slides:
        if slide.slide_id in seen:
            raise BundleError(
                f"slide {slide.slide_id} has two files of features: {seen[slide.slide_id]} and {slide.path}. Give the "
                "folder of one run as dataset_dir."
            )
        seen[slide.slide_id] = slide.path


def _say_what_is_left_alone(layout: str, slides: list[FeatureFile], places: Places) -> None:
    """One layout is read at a time; slides that only files of another kind have are missed otherwise."""
    names, suffixes = {slide.slide_id for slide in slides}, {slide.path.suffix.lower() for slide in slides}
    others = [
        path
        for path in places.files(*(suffix for suffix in _SUFFIXES if suffix not in suffixes))
        if slide_name(path) not in names and path.parent.name not in _COORDINATES and path.parent != places.coords_dir
    ]
    if others:
        text = "%d files are not of the layout %s and are left alone, such as %s: import their folder on its own"
        logger.warning(text, len(others), layout, others[0])


def _what_is_there(places: Places) -> str:
    known = ", ".join(layout.name for layout in LAYOUTS)
    root = places.root
    found = sorted(path.name for path in root.iterdir())[:5] if root.is_dir() else [root.name]
    return (
        f"it holds {', '.join(found) or 'nothing'}. Known are: {known} (docs/importing.md). Token files need no import."
    )
