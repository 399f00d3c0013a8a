"""A slide that is searched with: from a file of embeddings, or from the index itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...cohort import SlideTable
from ...core import BundleError, SettingError
from ...storage import find_embeddings, read_embeddings
from .index import SearchIndex
from .part import RegionPart, SlidePart


@dataclass(frozen=True)
class Query:
    """One slide.

    Attributes:
        slide_id: its name.
        values: its row of the slide table; empty where it has none.
        slide: its arrays, a part of one slide.
        regions: its regions; None where they were not asked for, or the index it comes from has none.
    """

    slide_id: str
    values: dict[str, str]
    slide: SlidePart
    regions: RegionPart | None

    @property
    def patient(self) -> str:
        """The slide itself where no patient is known."""
        return self.values.get("patient") or self.slide_id

    def chosen_regions(self, region: str | int | None) -> list[tuple[int, float]]:
        """Numbers of the regions to search with, and the cosine of each with its prototype (1 where it has none).

        Args:
            region: the number of one, a position "x,y" (level-0 px) that one holds, or None: the most typical region of
                each prototype, those of most tissue first; of a slide without prototypes its first.

        Raises:
            SettingError: there is no such region.
        """
        if self.regions is None:
            raise BundleError(f"regions of slide {self.slide_id} are not at hand: give its file of embeddings.")
        if region is not None and str(region).strip():
            return [(self._numbered(str(region)), 1.0)]
        order = np.argsort(-self.slide.share, kind="stable")
        corners, cosines = self.slide.example_coords[order, 0], self.slide.example_cosine[order, 0]
        found = [
            (int(np.flatnonzero((self.regions.coords == corner).all(1))[0]), float(cosine))
            for corner, cosine in zip(corners, cosines, strict=True)
            if np.isfinite(cosine)
        ]
        return found or [(0, 1.0)]

    def _numbered(self, region: str) -> int:
        assert self.regions is not None
        coords, size = self.regions.coords, float(self.slide.region_size[0])
        try:
            words = [float(word) for word in region.strip("[]() ").split(",")]
        except ValueError:
            words = []
        if len(words) == 2:
            offset = np.array(words) - coords
            inside = np.flatnonzero(((offset >= 0) & (offset < size)).all(1))
            if len(inside):
                return int(inside[0])
        elif len(words) == 1 and words[0].is_integer() and 0 <= words[0] < len(coords):
            return int(words[0])
        raise SettingError(
            f"--region {region}: slide {self.slide_id} has no such region; give a number from 0 to {len(coords) - 1}, "
            f"or x,y in level-0 px within one (the first begins at {coords[0, 0]},{coords[0, 1]}, {size:g} px wide)."
        )


def read_queries(
    query: str | Path, index: SearchIndex, table: SlideTable, *, has_regions: bool = True
) -> Iterator[Query]:
    """The slides that ``query`` names, one after the other.

    Args:
        query: a file of embeddings, a folder of such files, or the id of a slide in the index.
        index: what will be searched; its values stand in where ``table`` says nothing.
        table: what is known of the slides.
        has_regions: whether regions are needed; for a slide of the index, those of all its slides are read then.

    Raises:
        BundleError: there is nothing of that name, or its embeddings cannot be compared with the index.
    """
    name = str(query)  # an id of digits comes from the command line as a number
    if Path(name).exists():
        for path in find_embeddings(name):
            slide = read_embeddings(path, attention=False)
            index.check(slide)
            values = table.row(slide.slide_id, slide.attributes.get("slide_path")).values
            if not values and slide.slide_id in index.rows:
                values = index.entry(index.rows[slide.slide_id]).values
            part = SlidePart.of([slide], index.catalog.n_examples)
            yield Query(slide.slide_id, values, part, RegionPart.of([slide]) if has_regions else None)
        return
    row = index.rows.get(name)
    if row is None:
        near = ", ".join(list(index.rows)[:3])
        raise BundleError(
            f"the query {name} is neither a file or folder of embeddings nor a slide of the index (such as {near})."
        )
    regions = None
    if has_regions and index.catalog.has_regions:
        start = int(index.slides.n_regions[:row].sum())
        own = slice(start, start + int(index.slides.n_regions[row]))
        regions = RegionPart(index.regions.features[own], index.regions.coords[own])
    yield Query(name, index.entry(row).values, index.slides.chosen([row]), regions)
