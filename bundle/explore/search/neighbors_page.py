"""Similar slides side by side: each neighbor with the prototypes that match and the regions that stand for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...cohort import shown_values
from ...core import as_whole
from ...pages import RegionPicture, SlidePicture, render, slide_uri, write_page
from ..region_tile import Tile, region_tile
from .answer import RegionPlace, SearchAnswer

_ROOM = Path(__file__).parents[1]
_PICTURE_PX = 176
_SLIDE_PX = 320
_EXAMPLES = 2


class NeighborsReport:
    """Call with answers: writes ``neighbors.html``, one file that needs nothing beside it.

    Args:
        output_dir: folder of the file; made where it is missing.
        pictures: region -> its picture (``bundle.slides.RegionPictures``), or None where its slide is not at hand.
            Without it regions are named by their place alone.
        title: heading of the page.
        thumbnails: slide id -> RGB uint8 [h, w, 3], alone or with its um/px (``bundle.slides.Thumbnails``), or None
            where the slide is not at hand. Without it no whole slide is shown.
        max_pictures: pictures on the page, about 6 kB each; where there would be more, places stand alone.
    """

    def __init__(
        self,
        output_dir: str | Path,
        pictures: RegionPicture | None = None,
        title: str = "Similar slides",
        max_pictures: int = 2000,
        thumbnails: SlidePicture | None = None,
    ) -> None:
        self.path = Path(output_dir) / "neighbors.html"
        self.pictures, self.thumbnails, self.title = pictures, thumbnails, str(title)
        self.max_pictures = as_whole(max_pictures, "max_pictures")

    def __call__(self, answers: Sequence[SearchAnswer]) -> Path:
        """Write the page, and return where it is.

        Raises:
            BundleError: it cannot be written.
        """
        return write_page(self.path, self.page(answers))

    def page(self, answers: Sequence[SearchAnswer]) -> str:
        """The page as text."""
        tiles = _Tiles(self.pictures, self.thumbnails, self.max_pictures)
        shown = [_shown(answer, tiles) for answer in answers]
        return render(
            _ROOM, "search/neighbors_page.html", title=self.title, answers=shown, tiles=tiles, shown_values=shown_values
        )


class _Tiles:
    """Call for tiles of regions, with pictures until there are as many as may be; attributes count them.

    ``n_shown`` have a picture, ``n_missing`` have none to show, ``n_without`` came when no further one might be shown.
    """

    def __init__(self, pictures: RegionPicture | None, thumbnails: SlidePicture | None, max_pictures: int) -> None:
        self.pictures, self.thumbnails, self.max_pictures = pictures, thumbnails, max_pictures
        self.n_without = self.n_shown = self.n_missing = 0

    def __call__(self, places: Sequence[RegionPlace]) -> list[Tile]:
        return [self._tile(place) for place in places]

    def whole(self, slide_id: str) -> str:
        """A whole slide's picture, as a data URI; empty where there is none, or no further one may be shown."""
        picture = slide_uri(self.thumbnails, slide_id, _SLIDE_PX) if self.n_shown < self.max_pictures else ""
        self.n_shown += bool(picture)
        return picture

    def _tile(self, place: RegionPlace) -> Tile:
        if self.pictures is None:
            return Tile(place)
        if self.n_shown >= self.max_pictures:
            self.n_without += 1
            return Tile(place)
        tile = region_tile(place, self.pictures, _PICTURE_PX)
        self.n_shown += bool(tile.picture)
        self.n_missing += not tile.picture
        return tile


def _shown(answer: SearchAnswer, tiles: _Tiles) -> dict[str, Any]:
    """An answer with tiles of its regions, in the order of the page."""
    own = tiles.whole(answer.query)
    neighbors = [
        (
            neighbor,
            tiles.whole(neighbor.slide_id),
            [
                (pair, tiles(pair.query_regions[:_EXAMPLES]), tiles(pair.neighbor_regions[:_EXAMPLES]))
                for pair in neighbor.pairs
            ],
        )
        for neighbor in answer.neighbors
    ]
    groups = [(tiles([group.query])[0], tiles(group.found)) for group in answer.regions]
    return {"answer": answer, "picture": own, "neighbors": neighbors, "groups": groups}
