"""A cohort as one page: its kinds of tissue, its slides, and which slides are alike."""

from __future__ import annotations

import math
from pathlib import Path

from ...cohort import shown_values
from ...core import as_whole
from ...pages import RegionPicture, SlidePicture, jpeg_uri, render, write_page
from ..region_tile import Tile, region_tile
from .atlas_pictures import draw_kinds, kind_color
from .record import Atlas, AtlasSlide, letters

_ROOM = Path(__file__).parents[1]
_TILE_PX = 208
_SMALL_TILE_PX = 96
_TILE_QUALITY = 75
_OVERLAY_PX = 420


class AtlasReport:
    """Call with an :class:`Atlas`: writes ``atlas.html``, one file that needs nothing beside it.

    Args:
        output_dir: folder of the file; made where it is missing.
        thumbnails: slide id -> RGB uint8 [h, w, 3], alone or with its um/px (``bundle.slides.Thumbnails``), or None
            where the slide is not at hand. Without it regions are drawn on plain paper.
        pictures: region -> its picture (``bundle.slides.RegionPictures``), or None where its slide is not at hand.
        title: heading of the page.
        max_slides: slides that are drawn, about 50 kB each; further ones are in the table alone.
    """

    def __init__(
        self,
        output_dir: str | Path,
        thumbnails: SlidePicture | None = None,
        pictures: RegionPicture | None = None,
        title: str = "Atlas of the cohort",
        max_slides: int = 200,
    ) -> None:
        self.path = Path(output_dir) / "atlas.html"
        self.thumbnails, self.pictures, self.title = thumbnails, pictures, str(title)
        self.max_slides = as_whole(max_slides, "max_slides")

    def __call__(self, atlas: Atlas) -> Path:
        """Write the page, and return where it is.

        Raises:
            BundleError: it cannot be written.
        """
        return write_page(self.path, self.page(atlas))

    def page(self, atlas: Atlas) -> str:
        """The page as text."""
        drawn = atlas.slides[: self.max_slides]
        return render(
            _ROOM,
            "atlas/atlas_page.html",
            title=self.title,
            atlas=atlas,
            n_regions=sum(len(slide.coords) for slide in atlas.slides),
            tissue_mm2=sum(slide.tissue_mm2 for slide in atlas.slides),
            cohesion=atlas.cohesion if math.isfinite(atlas.cohesion) else None,
            shares={number: kind.share for number, kind in enumerate(atlas.kinds)},
            apart=[
                (region_tile(place, self.pictures, _SMALL_TILE_PX, _TILE_QUALITY), share)
                for place, share in atlas.apart.regions
            ],
            kinds=[
                (kind, [region_tile(place, self.pictures, _TILE_PX, _TILE_QUALITY) for place in kind.regions])
                for kind in atlas.kinds
            ],
            drawn=[(slide, self._overlay(slide), self._typical(slide)) for slide in drawn],
            anchors={slide.slide_id: f"slide-{i}" for i, slide in enumerate(drawn)},
            color=kind_color,
            letters=letters,
            shown_values=shown_values,
        )

    def _overlay(self, slide: AtlasSlide) -> str:
        found = self.thumbnails(slide.slide_id) if self.thumbnails is not None else None
        thumbnail = found[0] if isinstance(found, tuple) else found
        return jpeg_uri(draw_kinds(slide, thumbnail, _OVERLAY_PX), _OVERLAY_PX, quality=78)

    def _typical(self, slide: AtlasSlide) -> dict[int, Tile]:
        """Kind -> the most typical region of the slide."""
        return {
            number: region_tile(places[0], self.pictures, _SMALL_TILE_PX, _TILE_QUALITY)
            for number, places in slide.typical.items()
            if places
        }
