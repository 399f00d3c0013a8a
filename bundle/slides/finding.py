"""Slides of a folder, where one file may hold several sections."""

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import tifffile

from .. import cohort
from ..cohort import SLIDE_SUFFIXES, Known, SlideRef, SlideTable, without_excluded
from .first_page import first_page
from .images import SLIDE, SlideImage
from .tiff_images import tiff_images

_OME_SUFFIXES = (".tif", ".tiff", ".btf")
_THREADS = 16  # a file's first page on a disk in the network takes longer to come than to read


def find_slides(
    dataset_dir: str | Path,
    table: SlideTable | None = None,
    suffixes: Sequence[str] = SLIDE_SUFFIXES,
    apart_from: Sequence[Path] = (),
    known: Known | None = None,
    exclude: str | Path | None = None,
) -> list[SlideRef]:
    """See :func:`bundle.cohort.find_slides`; sections of one file are slides, ``<id>__section0`` and so on.

    Args:
        dataset_dir, table, suffixes, apart_from, known: see there.
        exclude: file of slides to leave out, see :func:`bundle.cohort.without_excluded`; None: all are kept.
    """
    found = cohort.find_slides(dataset_dir, table, suffixes, apart_from, known, sections_of)
    root = Path(dataset_dir)
    base = root.parent if root.is_file() else root
    return found if exclude is None else without_excluded(found, exclude, base)


def sections_of(paths: Sequence[Path]) -> dict[Path, int]:
    """How many sections each file holds, of those that hold several."""
    asked = [path for path in paths if path.suffix.lower() in _OME_SUFFIXES]
    with ThreadPoolExecutor(min(_THREADS, max(1, len(asked)))) as pool:
        return {path: n for path, n in zip(asked, pool.map(_n_sections, asked), strict=True) if n > 1}


def section_named(slide_id: str, path: Path) -> int | None:
    """Which section of a file an id of :func:`find_slides` means; None where the file holds one slide."""
    found = re.search(r"__section(\d+)$", slide_id)
    return int(found[1]) if found and _n_sections(path) > 1 else None


def scans_of_ome(path: Path) -> list[SlideImage]:
    """Images of role slide in an OME-TIFF; none of all else, and of what cannot be read: opening it says more."""
    page = first_page(path)
    if page is None or not page.is_ome:
        return []
    try:
        with tifffile.TiffFile(path) as file:
            return [image for image, *_ in tiff_images(file) if image.role == SLIDE]
    except Exception:  # on damaged headers it raises whatever it stumbles over
        return []


def _n_sections(path: Path) -> int:
    return len(scans_of_ome(path))
