"""Similar slides side by side: each neighbor with the prototypes that match and the regions that stand for them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path

from ...core import as_whole
from ...pages import RegionPicture, described, html_page, jpeg_uri, percent, write_page
from .answer import PrototypePair, RegionPlace, SearchAnswer, SimilarRegions, SimilarSlide

_PICTURE_PX = 176
_EXAMPLES = 2
_KINDS = {
    "sets": "prototype sets (mean cosine of optimally matched prototypes)",
    "embedding": "slide embedding (cosine)",
    "regions": "region embedding (cosine)",
}
_STYLE = """
nav a { white-space: normal; }
.pairs { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 400px), 1fr)); }
.sides { display: grid; grid-template-columns: 1fr 1fr; gap: .5rem; margin-top: .3rem; }
.sides h4 { margin: 0 0 .2rem; font-size: .8rem; font-weight: 600; color: #555; }
.tiles { display: flex; flex-wrap: wrap; gap: .3rem; }
.tiles figure { width: calc(50% - .15rem); max-width: 176px; }
.tiles figcaption { font-weight: 400; font-size: .75rem; color: #555; }
.tiles img { width: 100%; border: 1px solid #ccc; }
.like { display: grid; gap: .6rem; grid-template-columns: repeat(auto-fill, minmax(128px, 1fr)); }
.like figure { max-width: 176px; }
.like figcaption { font-weight: 400; font-size: .75rem; color: #555; }
.like .asked { border-right: 3px solid #0072B2; padding-right: .5rem; }
.rank { color: #555; font-weight: 400; }
"""


class NeighborsReport:
    """Call with answers: writes ``neighbors.html``, one file that needs nothing beside it.

    Args:
        output_dir: folder of the file; made where it is missing.
        pictures: region -> its picture (``bundle.slides.RegionPictures``), or None where its slide is not at hand.
            Without it regions are named by their place alone.
        title: heading of the page.
        max_pictures: pictures on the page, about 6 kB each; where there would be more, places stand alone.
    """

    def __init__(
        self,
        output_dir: str | Path,
        pictures: RegionPicture | None = None,
        title: str = "Similar slides",
        max_pictures: int = 2000,
    ) -> None:
        self.path = Path(output_dir) / "neighbors.html"
        self.pictures, self.title = pictures, str(title)
        self.max_pictures = as_whole(max_pictures, "max_pictures")

    def __call__(self, answers: Sequence[SearchAnswer]) -> Path:
        """Write the page, and return where it is.

        Raises:
            BundleError: it cannot be written.
        """
        return write_page(self.path, neighbors_page(answers, self.title, self.pictures, self.max_pictures))


def neighbors_page(
    answers: Sequence[SearchAnswer], title: str, pictures: RegionPicture | None = None, max_pictures: int = 2000
) -> str:
    """The page as text; arguments as of :class:`NeighborsReport`."""
    tiles = _Tiles(pictures, max_pictures)
    parts = [_answer(i, answer, tiles) for i, answer in enumerate(answers)]
    links = ""
    if len(answers) > 1:
        links = "".join(f'<a href="#query-{i}">{escape(answer.query)}</a> ' for i, answer in enumerate(answers))
    top = f"<h1>{escape(title)}</h1>{tiles.notes()}" + (f"<nav>{links}</nav>" if links else "")
    return html_page(title, top + "".join(parts), _STYLE)


class _Tiles:
    """Regions as figures, counted."""

    def __init__(self, pictures: RegionPicture | None, max_pictures: int) -> None:
        self.pictures, self.left = pictures, max_pictures
        self.n_without = self.n_shown = self.n_missing = 0

    def figure(self, place: RegionPlace, alt: str, caption: str, kind: str = "") -> str:
        picture = None
        if self.pictures is not None and self.left > 0:
            picture = self.pictures(place.slide_id, place.x, place.y, place.size)
            self.n_missing += picture is None
        elif self.pictures is not None:
            self.n_without += 1
        where = f"at {place.x}, {place.y}"
        name = f' class="{kind}"' if kind else ""
        if picture is None:
            return f"<figure{name}><figcaption>{caption} {where}</figcaption></figure>"
        self.left -= 1
        self.n_shown += 1
        source = jpeg_uri(picture, _PICTURE_PX)
        title = escape(f"{place.slide_id} {where} (level-0 px)")
        image = f'<img alt="{escape(alt)}" title="{title}" src="{source}">'
        return f"<figure{name}>{image}<figcaption>{caption}</figcaption></figure>"

    def notes(self) -> str:
        """What the reader should know about pictures; call when all figures are made."""
        if self.pictures is None or (not self.n_shown and self.n_missing):
            text = "No slide is at hand: regions are named by their top-left corner (level-0 px). Give --slides_dir."
        elif self.n_without:
            text = f"{self.n_shown} pictures are shown; {self.n_without} further regions are named by their place."
        elif self.n_missing:
            text = f"{self.n_missing} regions without a picture: their slides are not at hand or do not decode."
        else:
            return ""
        return f'<p class="quiet">{escape(text)}</p>'


def _answer(number: int, answer: SearchAnswer, tiles: _Tiles) -> str:
    values = described(answer.values)
    about = f"<p>{values}</p>" if values else ""
    regions = "the regions of " if answer.by == "regions" else ""
    how = f"Compared with {regions}{answer.n_compared} slides by {_KINDS[answer.by]}"
    how += f", limited to {escape(answer.where)}" if answer.where else ""
    if math.isfinite(answer.usual):
        how += f". The median similarity, from a sample of them, is {answer.usual:.3f}"
    head = f'<h2 id="query-{number}">{escape(answer.query)}</h2>{about}<p class="quiet">{how}.</p>'
    bodies = [_neighbor(rank, answer, neighbor, tiles) for rank, neighbor in enumerate(answer.neighbors, 1)]
    bodies += [_region(answer, group, tiles) for group in answer.regions]
    return head + ("".join(bodies) or "<p>No neighbor was found.</p>")


def _neighbor(rank: int, answer: SearchAnswer, neighbor: SimilarSlide, tiles: _Tiles) -> str:
    values = described(neighbor.values)
    name = f'<span class="rank">{rank}.</span> {escape(neighbor.slide_id)}'
    head = f"<h3>{name}, similarity {neighbor.similarity:.3f}</h3>"
    most = max(answer.n_prototypes, neighbor.n_prototypes)
    if 0 < len(neighbor.pairs) < most:
        text = f"Only {len(neighbor.pairs)} of {most} prototypes have a match: one of the slides has few."
        head += f'<p class="quiet">{text}</p>'
    pairs = "".join(_pair(answer.query, neighbor.slide_id, pair, tiles) for pair in neighbor.pairs)
    body = f'<div class="pairs">{pairs}</div>' if pairs else '<p class="quiet">No prototypes to compare.</p>'
    return head + (f"<p>{values}</p>" if values else "") + body


def _pair(query: str, neighbor: str, pair: PrototypePair, tiles: _Tiles) -> str:
    head = f"<p>Prototypes {pair.query + 1} and {pair.neighbor + 1}: <b>cosine {pair.cosine:.3f}</b></p>"
    sides = _side(query, pair.query, pair.query_share, pair.query_regions, tiles)
    sides += _side(neighbor, pair.neighbor, pair.neighbor_share, pair.neighbor_regions, tiles)
    return f'<div class="card">{head}<div class="sides">{sides}</div></div>'


def _side(slide_id: str, prototype: int, share: float, regions: Sequence[RegionPlace], tiles: _Tiles) -> str:
    alt = f"region of {slide_id} that is typical of its prototype {prototype + 1}"
    figures = "".join(tiles.figure(place, alt, "") for place in regions[:_EXAMPLES])
    head = f"<h4>{escape(slide_id)}: {percent(share)} of its tissue</h4>"
    return f'<div>{head}<div class="tiles">{figures}</div></div>'


def _region(answer: SearchAnswer, group: SimilarRegions, tiles: _Tiles) -> str:
    place = group.query
    asked = tiles.figure(place, f"region of {place.slide_id} that was searched for", "searched for", "asked")
    found = ""
    for other in group.found:
        values = described(answer.found_values.get(other.slide_id, {}))
        caption = f"{escape(other.slide_id)}, <b>{other.similarity:.3f}</b>" + (f"; {values}" if values else "")
        found += tiles.figure(other, f"region of {other.slide_id}, similarity {other.similarity:.3f}", caption)
    return f'<h3>Region at {place.x}, {place.y}</h3><div class="like">{asked}{found}</div>'
