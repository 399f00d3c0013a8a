"""A cohort as one page: its kinds of tissue, its slides, and which slides are alike."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path

from ...core import as_whole
from ...pages import RegionPicture, SlidePicture, described, html_page, jpeg_uri, percent, write_page
from ..search.answer import RegionPlace
from .atlas_pictures import draw_kinds, kind_color
from .record import Atlas, AtlasKind, AtlasSlide, letters

_TILE_PX = 144
_SMALL_TILE_PX = 96
_OVERLAY_PX = 420
_STYLE = """
.kinds { display: grid; gap: 1rem; }
.kind { display: grid; gap: .8rem; grid-template-columns: minmax(0, 15rem) minmax(0, 1fr); border-top: 1px solid #ddd;
  padding-top: .8rem; break-inside: avoid; }
.kind p { margin: .2rem 0; font-size: .9rem; }
.kind h3, .slide h3 { margin: 0; }
.tag { display: inline-block; min-width: 1.5em; padding: 0 .3em; text-align: center; font-weight: 700; background: #fff;
  border: 2px solid; border-left-width: .7em; }
.tiles { display: grid; gap: .5rem; grid-template-columns: repeat(auto-fill, minmax(96px, 1fr)); }
.tiles figure { max-width: 144px; }
.tiles figcaption { font-weight: 400; font-size: .75rem; }
.tiles img { width: 100%; border: 1px solid #ccc; }
.slides { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 320px), 1fr));
  align-items: start; }
.slide { border: 1px solid #ddd; padding: .7rem; font-size: .9rem; break-inside: avoid; }
.slide p { margin: .3rem 0; }
.slide > img { width: 100%; max-height: 420px; object-fit: contain; background: #f5f5f5; }
.bar { display: flex; height: 1.3rem; margin: .4rem 0; border: 1px solid #999; }
.bar span { overflow: hidden; text-align: center; font-size: .8rem; line-height: 1.2rem; color: #1a1a1a;
  text-shadow: 0 0 2px #fff, 0 0 2px #fff, 0 0 2px #fff; min-width: 0; }
details { margin: .4rem 0; } summary { cursor: pointer; color: #00568c; }
.near { margin: .2rem 0; padding-left: 1.3rem; }
.groups { font-size: .85rem; margin: .3rem 0; } .groups td, .groups th { padding: .1rem .5rem .1rem 0; border: 0; }
@media (max-width: 600px) { .kind { grid-template-columns: 1fr; } }
"""


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
        drawn = {slide.slide_id: f"slide-{i}" for i, slide in enumerate(atlas.slides[: self.max_slides])}
        body = f"<h1>{escape(self.title)}</h1>{_headline(atlas)}{_failures(atlas)}"
        body += '<nav><a href="#kinds">Kinds of tissue</a> <a href="#slides">Slides</a> <a href="#table">Table</a> '
        body += '<a href="#meaning">How to read this</a></nav>'
        body += f'<h2 id="kinds">Kinds of tissue</h2>{_all_shares(atlas)}<div class="kinds">'
        body += "".join(self._kind(atlas, number, kind, drawn) for number, kind in enumerate(atlas.kinds)) + "</div>"
        body += f'<h2 id="slides">Slides</h2>{self._note(atlas)}<div class="slides">'
        body += "".join(self._slide(slide, drawn) for slide in atlas.slides[: self.max_slides]) + "</div>"
        body += f'<h2 id="table">Table</h2>{_table(atlas, drawn)}'
        return html_page(self.title, body + f'<h2 id="meaning">How to read this</h2>{_meaning(atlas)}', _STYLE)

    def _note(self, atlas: Atlas) -> str:
        if len(atlas.slides) <= self.max_slides:
            return ""
        text = f"The first {self.max_slides} of {len(atlas.slides)} slides are drawn; all are in the table. "
        return f'<p class="quiet">{text}Give --max_slides to draw more.</p>'

    def _kind(self, atlas: Atlas, number: int, kind: AtlasKind, drawn: dict[str, str]) -> str:
        n_slides = f"{len(kind.slides)} of {len(atlas.slides)} slides"
        about = f"<h3>{_tag(number)} {percent(kind.share)} of the tissue</h3><p>in {n_slides}</p>"
        if kind.share_of_group:
            cells = (f"<tr><th>{escape(g)}</th><td>{percent(s)}</td></tr>" for g, s in kind.share_of_group.items())
            about += f'<table class="groups"><tbody>{"".join(cells)}</tbody></table>'
        tiles = self._tiles(kind.regions, f"typical region of kind {kind.letter}", _TILE_PX, drawn)
        return f'<div class="kind"><div>{about}</div>{tiles}</div>'

    def _slide(self, slide: AtlasSlide, drawn: dict[str, str]) -> str:
        found = self.thumbnails(slide.slide_id) if self.thumbnails is not None else None
        thumbnail = found[0] if isinstance(found, tuple) else found
        overlay = jpeg_uri(draw_kinds(slide, thumbnail, _OVERLAY_PX), _OVERLAY_PX, quality=78)
        alt = f"slide {slide.slide_id} tinted by kind of tissue: {_in_words(slide)}"
        text = f'<h3>{escape(slide.slide_id)}</h3><img alt="{escape(alt)}" src="{overlay}">{_bar(slide)}'
        values = described(slide.values)
        text += f"<p>{values}</p>" if values else ""
        text += f'<p class="quiet">{_regions(len(slide.coords))}, {_area(slide.tissue_mm2)} of tissue</p>'
        firsts = [places[0] for places in slide.typical.values() if places]
        tiles = self._tiles(firsts, f"typical region of {slide.slide_id}", _SMALL_TILE_PX, {}, list(slide.typical))
        if firsts:
            text += f"<details><summary>typical regions</summary>{tiles}</details>"
        text += _near(slide, drawn)
        return f'<div class="slide" id="{drawn[slide.slide_id]}">{text}</div>'

    def _tiles(
        self,
        places: Sequence[RegionPlace],
        alt: str,
        px: int,
        drawn: dict[str, str],
        kinds: Sequence[int] | None = None,
    ) -> str:
        """Regions as figures: each with its slide below, or with its kind."""
        figures = []
        for i, place in enumerate(places):
            picture = self.pictures(place.slide_id, place.x, place.y, place.size) if self.pictures else None
            where = f"at {place.x}, {place.y}"
            name = _link(place.slide_id, drawn) if kinds is None else _tag(kinds[i])
            if picture is None:
                figures.append(f"<figure><figcaption>{name} {where}</figcaption></figure>")
                continue
            title = escape(f"{place.slide_id} {where} (level-0 px)")
            image = f'<img alt="{escape(f"{alt}, {where}")}" title="{title}" src="{jpeg_uri(picture, px, 75)}">'
            figures.append(f"<figure>{image}<figcaption>{name}</figcaption></figure>")
        return f'<div class="tiles">{"".join(figures)}</div>'


def _headline(atlas: Atlas) -> str:
    n_regions = sum(len(slide.coords) for slide in atlas.slides)
    tissue = _area(sum(slide.tissue_mm2 for slide in atlas.slides))
    text = f"{len(atlas.slides)} slides, {n_regions:,} regions, {tissue} of tissue, {len(atlas.kinds)} kinds"
    return f'<p class="lead">{text}</p>'


def _failures(atlas: Atlas) -> str:
    if not atlas.failed:
        return ""
    items = "".join(f"<li>{escape(name)}: {escape(why)}</li>" for name, why in atlas.failed.items())
    return f'<div class="box"><b>{len(atlas.failed)} slides are left out</b><ul>{items}</ul></div>'


def _all_shares(atlas: Atlas) -> str:
    shares = {number: kind.share for number, kind in enumerate(atlas.kinds)}
    return _segments(shares, "of the cohort's tissue")


def _bar(slide: AtlasSlide) -> str:
    return _segments(slide.shares, "of the slide's tissue")


def _segments(shares: dict[int, float], of_what: str) -> str:
    parts = []
    for number, share in shares.items():
        style = f"flex:{max(share, 0):.4f} 0 0;background:{kind_color(number)}"
        label = letters(number) if share >= 0.05 else ""
        parts.append(f'<span style="{style}" title="{letters(number)}: {percent(share)} {of_what}">{label}</span>')
    words = ", ".join(f"{letters(number)} {percent(share)}" for number, share in shares.items())
    return f'<div class="bar" role="img" aria-label="{words} {of_what}">{"".join(parts)}</div>' if parts else ""


def _near(slide: AtlasSlide, drawn: dict[str, str]) -> str:
    if not slide.neighbors:
        return ""
    items = "".join(f"<li>{_link(name, drawn)} {similarity:.3f}</li>" for name, similarity in slide.neighbors)
    return f'<p>Most similar slides:</p><ol class="near">{items}</ol>'


def _table(atlas: Atlas, drawn: dict[str, str]) -> str:
    heads = "".join(f"<th>{_tag(number)}</th>" for number in range(len(atlas.kinds)))
    rows = []
    for slide in atlas.slides:
        cells = "".join(
            f"<td>{percent(slide.shares[number]) if number in slide.shares else ''}</td>"
            for number in range(len(atlas.kinds))
        )
        near = _link(slide.neighbors[0][0], drawn) if slide.neighbors else ""
        about = f"<td>{len(slide.coords)}</td><td>{_area(slide.tissue_mm2)}</td>"
        rows.append(f"<tr><th>{_link(slide.slide_id, drawn)}</th>{about}{cells}<td>{near}</td></tr>")
    columns = f"<th>slide</th><th>regions</th><th>tissue</th>{heads}<th>nearest slide</th>"
    table = f"<thead><tr>{columns}</tr></thead><tbody>{''.join(rows)}</tbody>"
    return f'<div class="scroll"><table class="numbers">{table}</table></div>'


def _meaning(atlas: Atlas) -> str:
    text = (
        "A slide's regions were clustered to prototypes; prototypes of all slides were merged to kinds of tissue, no "
    )
    text += "two of a slide to the same kind. A region belongs to one kind as a whole, though it may hold several "
    text += "tissues. Kinds were found without labels: what they are is for a pathologist to say. "
    if math.isfinite(atlas.cohesion):
        text += f"On average a prototype has a cosine of {atlas.cohesion:.3f} with its kind. "
    text += "Shares are of patches that hold tissue. Similar slides are those whose prototypes match best (mean cosine "
    text += "under the optimal matching); how much tissue each covers plays no part in it."
    groups = ""
    if atlas.group_by:
        groups = f"<p>Shares by <b>{escape(atlas.group_by)}</b> are of the tissue of the slides with that value.</p>"
    return f"<p>{text}</p>{groups}"


def _tag(number: int) -> str:
    return (
        f'<span class="tag" style="border-color:{kind_color(number)}">{letters(number) if number >= 0 else "-"}</span>'
    )


def _link(slide_id: str, drawn: dict[str, str]) -> str:
    name = escape(slide_id)
    return f'<a href="#{drawn[slide_id]}">{name}</a>' if slide_id in drawn else name


def _in_words(slide: AtlasSlide) -> str:
    return ", ".join(f"{letters(number)} {percent(share)}" for number, share in slide.shares.items()) or "no kinds"


def _regions(n: int) -> str:
    return f"{n} region{'' if n == 1 else 's'}"


def _area(mm2: float) -> str:
    return f"{mm2:,.0f} mm²" if mm2 >= 10 else f"{mm2:.1f} mm²"
