"""Pictures of an atlas: slides tinted by kind of tissue, and typical regions as contact sheets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw, ImageFont

from ...pages import OKABE_ITO
from .record import AtlasSlide, letters

# Okabe and Ito's colors without black, then Paul Tol's muted ones: color-blind readers can tell most apart, and
# a letter stands beside each.
KIND_COLORS = (
    *(OKABE_ITO[name] for name in ("blue", "orange", "green", "pink", "vermillion", "sky", "yellow")),
    "#332288", "#AA4499", "#117733", "#882255", "#44AA99", "#999933", "#661100", "#DDCC77",
)  # fmt: skip
NO_KIND = "#999999"
_PAPER = 245
_TINT = 0.25  # of a slide's picture: tissue is what is looked at, outlines and letters say the kind, too
_PAPER_TINT = 0.75
_APART_LINE = (205, 205, 205)
_INK = (26, 26, 26)
_QUIET = (85, 85, 85)

_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def kind_color(number: int) -> str:
    """Hexadecimal color of a kind; they repeat after 15; gray for -1."""
    return KIND_COLORS[number % len(KIND_COLORS)] if number >= 0 else NO_KIND


def draw_kinds(slide: AtlasSlide, thumbnail: NDArray[np.uint8] | None, max_px: int) -> NDArray[np.uint8]:
    """A slide whose tissue is tinted by kind, patch by patch, with each region's outline and letter.

    Regions of no kind have a thin outline; their tissue is as it is, on plain paper gray.

    Args:
        slide: where its regions are and of which kind.
        thumbnail: RGB uint8 [h, w, 3] of the whole slide; None: plain paper.
        max_px: longest side of the picture.

    Returns:
        RGB uint8 [h, w, 3].
    """
    width, height = slide.level0_size
    scale = min(1.0, max_px / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if thumbnail is None:
        image = Image.new("RGB", size, (_PAPER,) * 3)
    else:
        image = Image.fromarray(thumbnail).resize(size, Image.Resampling.BOX, reducing_gap=2.0)
    picture = np.asarray(image, np.float32).copy()
    kind_of_px = _kind_of_px(slide, size, scale)
    for number in np.unique(kind_of_px[kind_of_px > -2]).tolist():
        inside = kind_of_px == number
        color = np.array(ImageColor.getrgb(kind_color(number)), np.float32)
        tint = _PAPER_TINT if thumbnail is None else _TINT if number >= 0 else 0.0
        picture[inside] = (1 - tint) * picture[inside] + tint * color
    return _lettered(slide, Image.fromarray(picture.astype(np.uint8)), scale)


def _kind_of_px(slide: AtlasSlide, size: tuple[int, int], scale: float) -> NDArray[np.int64]:
    """Kind of each px with tissue, -1 for none, -2 outside regions and tissue, [h, w]."""
    found = np.full((size[1], size[0]), -2, np.int64)
    n_patches = slide.mask.shape[1]
    steps = np.arange(n_patches + 1) * slide.region_size / n_patches
    for corner, mask, kind in zip(slide.coords, slide.mask, slide.kind, strict=True):
        columns, rows = (np.round((start + steps) * scale).astype(int) for start in corner.tolist())
        tissue = np.repeat(np.repeat(mask, np.diff(rows), 0), np.diff(columns), 1)
        top, left = max(rows[0], 0), max(columns[0], 0)
        window = found[top : max(rows[-1], 0), left : max(columns[-1], 0)]
        tissue = tissue[top - rows[0] :, left - columns[0] :][: window.shape[0], : window.shape[1]]
        window[tissue] = kind
    return found


def _lettered(slide: AtlasSlide, image: Image.Image, scale: float) -> NDArray[np.uint8]:
    """Outlines, those of kinds above those of no kind, and letters in a corner, where they hide the least."""
    draw = ImageDraw.Draw(image)
    side = slide.region_size * scale
    font = ImageFont.load_default(size=max(9, min(15, round(side / 3))))
    line = 2 if side >= 20 else 1
    for i in np.argsort(slide.kind >= 0, kind="stable").tolist():
        kind, (left, top) = int(slide.kind[i]), (slide.coords[i] * scale).tolist()
        box = (round(left), round(top), round(left + side) - 1, round(top + side) - 1)
        if box[2] > box[0] and box[3] > box[1]:
            outline, width = (kind_color(kind), line) if kind >= 0 else (_APART_LINE, 1)
            draw.rectangle(box, outline=outline, width=width)
        if kind >= 0 and side >= 20:
            corner = (max(left, 0) + 4, min(top + side, image.height) - 5)
            draw.text(corner, letters(kind), _INK, font, "ls", stroke_width=2, stroke_fill="white")
    return np.asarray(image)


class SheetCell(NamedTuple):
    """A picture (RGB uint8 [h, w, 3], or None where there is none) and the line below it."""

    picture: NDArray[np.uint8] | None
    caption: str


class SheetRow(NamedTuple):
    """A kind's row: its number, lines beside its letter, its pictures."""

    kind: int
    lines: list[str]
    cells: list[SheetCell]


def contact_sheet(title: str, rows: Sequence[SheetRow], cell_px: int = 160) -> NDArray[np.uint8]:
    """Typical regions, a row a kind, RGB uint8 [h, w, 3].

    Args:
        title: heading.
        rows: at least one.
        cell_px: side of a picture.
    """
    gap, beside, head, foot = 8, 190, 44, 20
    n_columns = max(len(row.cells) for row in rows)
    width = beside + n_columns * (cell_px + gap) + gap
    sheet = Image.new("RGB", (max(width, 480), head + len(rows) * (cell_px + foot + gap) + gap), "white")
    draw = ImageDraw.Draw(sheet)
    large, small, tiny = (ImageFont.load_default(size=size) for size in (20, 14, 11))
    draw.text((gap, head / 2), title, _INK, large, "lm")
    for number, row in enumerate(rows):
        top = head + number * (cell_px + foot + gap)
        draw.rectangle((gap, top, gap + 34, top + 34), fill=kind_color(row.kind))
        name = letters(row.kind) if row.kind >= 0 else "-"
        draw.text((gap + 17, top + 17), name, _INK, large, "mm", stroke_width=2, stroke_fill="white")
        for line, text in enumerate(row.lines):
            draw.text((gap, top + 44 + 20 * line), text, _QUIET if line else _INK, small)
        for column, cell in enumerate(row.cells):
            left = beside + column * (cell_px + gap)
            if cell.picture is None:
                draw.rectangle((left, top, left + cell_px - 1, top + cell_px - 1), fill=(_PAPER,) * 3)
            else:
                sheet.paste(Image.fromarray(cell.picture).resize((cell_px, cell_px)), (left, top))
            draw.rectangle((left, top, left + cell_px - 1, top + cell_px - 1), outline=(200, 200, 200))
            draw.text((left, top + cell_px + 4), _fitting(cell.caption, draw, tiny, cell_px), _QUIET, tiny)
    return np.asarray(sheet)


def _fitting(text: str, draw: ImageDraw.ImageDraw, font: _Font, width: int) -> str:
    """The text, its middle left out where it is too long."""
    if draw.textlength(text, font) <= width:
        return text
    for kept in range(len(text) - 1, 1, -1):
        shorter = f"{text[: -(-kept // 2)]}...{text[len(text) - kept // 2 :]}"
        if draw.textlength(shorter, font) <= width:
            return shorter
    return text[:1]
