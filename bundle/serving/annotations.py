"""What MONAI Label's clients draw: labelled polygons in level-0 px, from what was found in a slide."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..pages import NO_PROTOTYPE as NO_PROTOTYPE_COLOR
from ..pages import prototype_colors
from ..storage import SlideEmbeddings, relative_attention
from .slide_box import Corners, SlideBox

Annotation = dict[str, Any]
Labelled = tuple[str, Corners]
NO_PROTOTYPE = "No prototype"
_QUERY_COLOR = (0, 114, 178)
_BANDS = ((0.95, "Attention top 5 %", (177, 42, 144)), (0.80, "Attention top 20 %", (225, 128, 90)))


def prototype_labels(n_prototypes: int) -> list[str]:
    """Names of a slide's prototypes, counted from 1 as on maps."""
    return [f"Prototype {k}" for k in range(1, n_prototypes + 1)]


def attention_labels() -> list[str]:
    """Names of the bands of the attention map."""
    return [name for _, name, _ in _BANDS]


def similar_labels(n_similar: int) -> list[str]:
    """Names of the regions like the marked ones, the most similar first."""
    return [f"Similar {rank}" for rank in range(1, n_similar + 1)]


def prototype_map(slide: SlideEmbeddings, box: SlideBox, min_area: float = 0) -> Annotation:
    """Every region as a rectangle around its tissue in its prototype's color, cut off at the box.

    Args:
        slide: regions with their ``assignment``.
        box: what is asked for.
        min_area: level-0 px squared; smaller pieces are left out.
    """
    names = prototype_labels(slide.n_prototypes)
    colors = {name: _rgb(color) for name, color in zip(names, prototype_colors(max(1, len(names))), strict=False)}
    colors[NO_PROTOTYPE] = _rgb(NO_PROTOTYPE_COLOR)
    labelled = ((names[k] if k >= 0 else NO_PROTOTYPE, around_tissue(slide, r)) for r, k in enumerate(slide.assignment))
    return annotation(box, labelled, colors, min_area)


def attention_map(slide: SlideEmbeddings, box: SlideBox, min_area: float = 0, head: int | None = None) -> Annotation:
    """The patches at which CLS looks most, in two bands: the top 5 % of the slide's tissue, and the 15 % after.

    Regions compare by weight over the mean of their tissue, see :func:`~bundle.storage.relative_attention`.

    Args:
        slide: with ``attention``.
        box: what is asked for; the bands are those of the whole slide all the same.
        min_area: level-0 px squared; smaller pieces are left out.
        head: one attention head, from 1; None: their mean.
    """
    assert slide.attention is not None
    weights = relative_attention(slide.attention, slide.mask)
    shares = np.where(slide.mask, weights.mean(1) if head is None else weights[:, head - 1], -1.0)
    tissue = shares[slide.mask]
    labelled: list[Labelled] = []
    upper = np.full(shares.shape, True)
    for quantile, name, _ in _BANDS:
        above = shares >= (np.quantile(tissue, quantile) if tissue.size else np.inf)
        labelled += ((name, corners) for corners in _patches(slide, above & upper & slide.mask))
        upper &= ~above
    return annotation(box, labelled, {name: list(color) for _, name, color in _BANDS}, min_area)


def similar_regions(
    slide: SlideEmbeddings, box: SlideBox, query: Iterable[int], similar: Iterable[int], min_area: float = 0
) -> Annotation:
    """The marked regions (``query``), and those like them wherever they lie in the slide.

    Args:
        slide: the regions.
        box: where the mark was made.
        query: regions under the mark; drawn inside the box.
        similar: the most similar first; drawn in full, they lie outside the box.
        min_area: level-0 px squared; smaller pieces are left out.
    """
    found = list(similar)
    names = similar_labels(len(found))
    whole = SlideBox(0, 0, *slide.level0_size)
    marked = annotation(box, (("Query", _square(slide, r)) for r in query), {"Query": list(_QUERY_COLOR)}, min_area)
    fade = np.linspace(0, 0.6, max(1, len(found)))
    colors = {name: _rgb((1 - f) * np.array([213, 94, 0]) + f * 255) for name, f in zip(names, fade, strict=False)}
    others = annotation(
        whole, ((name, _square(slide, r)) for name, r in zip(names, found, strict=True)), colors, min_area
    )
    elements = marked["elements"] + others["elements"]
    return {**marked, "elements": elements, "labels": {**marked["labels"], **others["labels"]}}


def region_outlines(slide: SlideEmbeddings, box: SlideBox, regions: Iterable[int], min_area: float = 0) -> Annotation:
    """Regions as squares of one color, cut off at the box."""
    squares = (("Region", _square(slide, r)) for r in regions)
    return annotation(box, squares, {"Region": list(_QUERY_COLOR)}, min_area)


def annotation(
    box: SlideBox, labelled: Iterable[Labelled], colors: dict[str, list[int]], min_area: float
) -> Annotation:
    """Rectangles under their labels, each cut off at the box; labels without a rectangle are left out."""
    contours: dict[str, list[list[list[float]]]] = {}
    for label, corners in labelled:
        inside = box.clip(*corners)
        if inside is None or (inside[2] - inside[0]) * (inside[3] - inside[1]) < min_area:
            continue
        left, top, right, bottom = map(float, inside)
        contours.setdefault(label, []).append([[left, top], [right, top], [right, bottom], [left, bottom]])
    return {
        "location": [box.left, box.top],
        "size": [box.right - box.left, box.bottom - box.top],
        "elements": [{"label": label, "contours": contours[label]} for label in colors if label in contours],
        "labels": {label: color for label, color in colors.items() if label in contours},
    }


def rectangles_of(cells: NDArray[np.bool_]) -> list[tuple[int, int, int, int]]:
    """Cut marked cells into rectangles (top, left, bottom, right; ends exclusive) that cover each of them once.

    Runs within a row that lie on an equal run in the row above are joined with it: far fewer polygons than cells.
    """
    finished: list[tuple[int, int, int, int]] = []
    growing: dict[tuple[int, int], int] = {}
    for row in range(len(cells) + 1):
        edges = np.diff(cells[row].astype(np.int8), prepend=0, append=0) if row < len(cells) else np.zeros(1, np.int8)
        runs = set(zip(np.flatnonzero(edges == 1).tolist(), np.flatnonzero(edges == -1).tolist(), strict=True))
        ended = [run for run in growing if run not in runs]
        finished += [(growing.pop(run), run[0], row, run[1]) for run in ended]
        growing |= {run: row for run in runs if run not in growing}
    return sorted(finished)


def _square(slide: SlideEmbeddings, region: int) -> Corners:
    x, y = slide.coords[region].tolist()
    return x, y, x + slide.region_size_level0, y + slide.region_size_level0


def around_tissue(slide: SlideEmbeddings, region: int) -> Corners:
    """Corners of the rectangle around a region's tissue, level-0 px."""
    x, y = slide.coords[region].tolist()
    rows, columns = (np.flatnonzero(slide.mask[region].any(axis)) for axis in (1, 0))
    if not len(rows):
        return _square(slide, region)
    side = slide.patch_level0
    return x + columns[0] * side, y + rows[0] * side, x + (columns[-1] + 1) * side, y + (rows[-1] + 1) * side


def _patches(slide: SlideEmbeddings, cells: NDArray[np.bool_]) -> Iterator[Corners]:
    """Corners of the rectangles that cover marked patches [R, P, P]."""
    side = slide.patch_level0
    for (x, y), marked in zip(slide.coords.tolist(), cells, strict=True):
        for top, left, bottom, right in rectangles_of(marked):
            yield x + left * side, y + top * side, x + right * side, y + bottom * side


def _rgb(color: Any) -> list[int]:
    return [int(channel) for channel in color]
