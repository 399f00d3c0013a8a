"""What slides are called: as their slide files and the slide table call them, without suffixes of either."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ...cohort import SLIDE_SUFFIXES, SlideTable
from ...core import SlideError
from .layouts.layout import FeatureFile, is_of_this_bundle

logger = logging.getLogger(__name__)


def named_as_slides(files: list[FeatureFile], table: SlideTable, slide_ids: Sequence[str]) -> list[FeatureFile]:
    """Give each file the id of its slide: ``a.svs`` of a file ``a.svs.h5`` is slide ``a``.

    An id that the slides know as it is stays; a name that two files would share is given to neither.

    Args:
        files: their ``slide_id`` is set anew.
        table: slide table.
        slide_ids: of the slides, where they are there.
    """
    known = {*table.rows, *slide_ids}
    wanted = Counter(name for file in files for name in {file.slide_id, _bare(file.slide_id)})
    renamed = []
    for file in files:
        bare = _bare(file.slide_id)
        if bare != file.slide_id and file.slide_id not in slide_ids and wanted[bare] == 1:
            renamed.append(f"{file.slide_id} is {bare}")
            file.slide_id = bare
    if renamed:
        logger.info("%d slides go by their name without suffix: %s", len(renamed), ", ".join(renamed[:3]))
    if known and not any(_is_known(file.slide_id, table, slide_ids) for file in files):
        text = "no file of features has the name of a slide: files are %s, slides are %s"
        names = [file.slide_id for file in files[:3]]
        logger.warning(text, ", ".join(names), ", ".join(sorted(known)[:3]))
    return files


def insist_on_own(path: Path, name: str) -> None:
    """Never write over somebody else's file: features and coordinates are called ``<slide_id>.h5``, too.

    Args:
        path: where a token file is to go.
        name: of the slide, for messages.

    Raises:
        SlideError: a whole HDF5 file that is no token file has this name.
    """
    if is_of_this_bundle(path) is False:  # None: nothing is there, or nothing that could be of use to anybody
        raise SlideError(
            f"slide {name}: {path} is no token file and is not written over: tokens_dir holds features or coordinates. "
            "Choose a tokens_dir of its own."
        )


def _bare(slide_id: str) -> str:
    suffix = next((suffix for suffix in SLIDE_SUFFIXES if slide_id.lower().endswith(suffix)), "")
    return slide_id[: len(slide_id) - len(suffix)] or slide_id


def _is_known(slide_id: str, table: SlideTable, slide_ids: Sequence[str]) -> bool:
    return slide_id in slide_ids or bool(table.row(slide_id).values)
