"""Contact sheets of an atlas: one for the cohort, one for each slide."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...core import as_whole
from ...pages import RegionPicture, write_results
from ..search.answer import RegionPlace
from .atlas_pictures import SheetCell, SheetRow, contact_sheet
from .record import ApartRegions, Atlas, AtlasSlide

_GROUP_LINES = 4
_log = logging.getLogger(__name__)


class AtlasSheets:
    """Call with an :class:`Atlas`: writes ``atlas.png``, and ``atlas_slides/<slide>.png`` for each slide at hand.

    Args:
        output_dir: folder of the files; made where it is missing.
        pictures: region -> its picture (``bundle.slides.RegionPictures``), or None where its slide is not at hand.
            Without any there is nothing to show, and nothing is written.
        n_regions: pictures of each kind on a slide's sheet.
    """

    def __init__(self, output_dir: str | Path, pictures: RegionPicture | None = None, n_regions: int = 6) -> None:
        self.output_dir, self.pictures = Path(output_dir), pictures
        self.n_regions = as_whole(n_regions, "n_regions", 1)

    def __call__(self, atlas: Atlas) -> list[Path]:
        """Write the sheets, and return where they are.

        Raises:
            BundleError: they cannot be written.
        """
        written = []
        cohort = self._cohort_rows(atlas)
        if not any(cell.picture is not None for row in cohort for cell in row.cells):
            _log.warning("no contact sheet is made: no slide is at hand; give --slides_dir.")
            return []
        title = f"Kinds of tissue of {len(atlas.slides)} slides, the most typical regions of each"
        written.append(self._write("atlas.png", contact_sheet(title, cohort)))
        for slide in atlas.slides:
            rows = self._slide_rows(slide)
            if any(cell.picture is not None for row in rows for cell in row.cells):
                sheet = contact_sheet(f"{slide.slide_id}: typical regions", rows)
                written.append(self._write(f"atlas_slides/{_file_name(slide.slide_id)}.png", sheet))
        return written

    def _cohort_rows(self, atlas: Atlas) -> list[SheetRow]:
        rows = []
        for number, kind in enumerate(atlas.kinds):
            lines = [f"{100 * kind.share:.1f} % of the tissue", f"in {len(kind.slides)} of {len(atlas.slides)} slides"]
            lines += _group_lines(kind.share_of_group)
            rows.append(SheetRow(number, lines, self._cells(kind.regions, True)))
        return rows + self._apart_rows(atlas.apart)

    def _apart_rows(self, apart: ApartRegions) -> list[SheetRow]:
        if not apart.n_regions:
            return []
        cells = self._cells([place for place, _ in apart.regions], True)
        lines = ["kept apart: edges", f"{apart.n_regions:,} regions", f"{100 * apart.share:.1f} % of the tissue"]
        lines += [f"less than {100 * apart.min_tissue:.0f} % tissue each", f"in {len(apart.slides)} slides"]
        return [SheetRow(-1, lines, cells)]

    def _slide_rows(self, slide: AtlasSlide) -> list[SheetRow]:
        return [
            SheetRow(
                number,
                [f"{100 * share:.1f} % of the tissue"],
                self._cells(slide.typical[number][: self.n_regions], False),
            )
            for number, share in slide.shares.items()
        ]

    def _cells(self, places: Sequence[RegionPlace], with_name: bool) -> list[SheetCell]:
        cells = []
        for place in places:
            picture = self.pictures(place.slide_id, place.x, place.y, place.size) if self.pictures else None
            name = place.slide_id if with_name else f"{place.x}, {place.y}"
            cells.append(SheetCell(picture, name))
        return cells

    def _write(self, name: str, picture: NDArray[np.uint8]) -> Path:
        contents = io.BytesIO()
        Image.fromarray(picture).save(contents, "PNG")
        write_results(self.output_dir, {name: contents.getvalue()})
        return self.output_dir / name


def _group_lines(shares: Mapping[str, float]) -> list[str]:
    """The largest shares, as many as stand beside a row of pictures."""
    largest = sorted((item for item in shares.items() if item[1] > 0), key=lambda item: -item[1])
    lines = [f"{100 * share:.1f} % of {group}" for group, share in largest]
    return (
        lines
        if len(lines) <= _GROUP_LINES
        else [*lines[: _GROUP_LINES - 1], f"and of {len(lines) - _GROUP_LINES + 1} more"]
    )


def _file_name(slide_id: str) -> str:
    return re.sub(r"[/\\\0]", "_", slide_id)
