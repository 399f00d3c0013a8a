"""The questions that a viewer may ask about a slide, and their answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..core import BundleError, as_number, as_whole
from ..storage import SlideEmbeddings
from .annotations import (
    NO_PROTOTYPE,
    attention_labels,
    attention_map,
    prototype_labels,
    prototype_map,
    region_outlines,
    similar_labels,
    similar_regions,
)
from .slide_box import SlideBox

Answer = dict[str, Any]
DEFAULT_SIMILAR = 5
_SHOWN_PROTOTYPES = 16


class Question(NamedTuple):
    """A model, as viewers list it.

    Attributes:
        description: one sentence for its user.
        labels: classes that its polygons may have.
        options: further parameters of a request, with their defaults.
        answer: what it gives for a slide and a request.
    """

    description: str
    labels: list[str]
    options: dict[str, Any]
    answer: Callable[[SlideEmbeddings, Mapping[str, Any]], Answer]


def answer_prototype_map(slide: SlideEmbeddings, request: Mapping[str, Any]) -> Answer:
    """Regions colored by prototype, and how much of the box each prototype takes."""
    box = box_of(slide, request)
    rows = regions_in(slide, box)
    names = [*prototype_labels(slide.n_prototypes), NO_PROTOTYPE]
    counts = np.bincount(slide.assignment[rows] % len(names), minlength=len(names))  # -1 is the last name
    shares = {name: float(count / max(1, len(rows))) for name, count in zip(names, counts, strict=True) if count}
    return {"annotation": prototype_map(slide, box, min_area_of(request)), "shares": shares, "n_regions": len(rows)}


def answer_attention_map(slide: SlideEmbeddings, request: Mapping[str, Any]) -> Answer:
    """Patches at which the region encoder looks most; ``head`` chooses one attention head.

    Raises:
        BundleError: there is no such head, or the slide's file holds no attention.
    """
    box = box_of(slide, request)
    if slide.attention is None:
        raise BundleError(
            f"the embeddings of slide {slide.slide_id} were made without attention: make them again with attention on."
        )
    n_heads = slide.attention.shape[1]
    head = None if request.get("head") in (None, "") else as_whole(request["head"], "head")
    if head is not None and not 1 <= head <= n_heads:
        raise BundleError(f"head is {head}, but the region encoder has heads 1 to {n_heads}.")
    return {"annotation": attention_map(slide, box, min_area_of(request), head), "n_heads": n_heads}


def answer_region_embedding(slide: SlideEmbeddings, request: Mapping[str, Any]) -> Answer:
    """Embeddings of the regions that touch the box, and their mean weighted by how much of each lies inside.

    ``prototype`` is the number in its name, 0 where a region has none.
    """
    box = box_of(slide, request)
    rows = _insist(regions_in(slide, box), slide, box)
    weights = _overlap(slide, box)[rows]
    return {
        "annotation": region_outlines(slide, box, rows, min_area_of(request)),
        "embedding": np.average(slide.features[rows], axis=0, weights=weights).tolist(),
        "slide_embedding": slide.slide_embedding.tolist(),
        "regions": [{**_region(slide, row), "embedding": slide.features[row].tolist()} for row in rows],
    }


def answer_similar_regions(slide: SlideEmbeddings, request: Mapping[str, Any]) -> Answer:
    """The ``n_similar`` regions of the slide that are most like what lies in the box, and how much they are."""
    box = box_of(slide, request)
    n_similar = as_whole(request.get("n_similar") or DEFAULT_SIMILAR, "n_similar", 1)
    marked = _insist(regions_in(slide, box), slide, box)
    query = np.average(slide.projection[marked], axis=0, weights=_overlap(slide, box)[marked])
    cosine = slide.projection @ (query / max(float(np.linalg.norm(query)), 1e-12))
    others = np.setdiff1d(np.arange(len(slide)), marked)
    best = others[np.argsort(-cosine[others], kind="stable")][:n_similar]
    regions = [
        {"rank": rank, **_region(slide, row), "cosine": round(float(cosine[row]), 6)}
        for rank, row in enumerate(best, 1)
    ]
    return {
        "annotation": similar_regions(slide, box, marked, best, min_area_of(request)),
        "regions": regions,
        "n_compared": len(others),
    }


QUESTIONS: dict[str, Question] = {
    "prototype_map": Question(
        "Regions colored by the prototype of their slide that they belong to",
        [*prototype_labels(_SHOWN_PROTOTYPES), NO_PROTOTYPE],
        {},
        answer_prototype_map,
    ),
    "attention_map": Question(
        "Where the region encoder looks: the top 5 % and the top 20 % of the slide's tissue",
        attention_labels(),
        {"head": ""},
        answer_attention_map,
    ),
    "region_embedding": Question(
        "Embeddings of the regions in the box, and their mean (read them with output=json)",
        ["Region"],
        {},
        answer_region_embedding,
    ),
    "similar_regions": Question(
        "More like this: the regions of the slide that are most similar to what is marked",
        ["Query", *similar_labels(DEFAULT_SIMILAR)],
        {"n_similar": DEFAULT_SIMILAR},
        answer_similar_regions,
    ),
}


def _region(slide: SlideEmbeddings, row: int) -> Answer:
    return {
        "location": slide.coords[row].tolist(),
        "size": [slide.region_size_level0] * 2,
        "prototype": int(slide.assignment[row]) + 1,
    }


def box_of(slide: SlideEmbeddings, request: Mapping[str, Any]) -> SlideBox:
    """What is asked for.

    Raises:
        BundleError: the slide has oblong pixels, or there is no such box.
    """
    if "pixel_aspect" in slide.attributes:
        raise BundleError(
            f"slide {slide.slide_id} has oblong pixels, and a viewer's are not those that it was read in: make its "
            "maps with configs/maps.yaml, whose GeoJSON lies right."
        )
    return SlideBox.of_request(request, *slide.level0_size)


def min_area_of(request: Mapping[str, Any]) -> float:
    """Pieces smaller than this are left out, level-0 px squared."""
    return as_number(request.get("min_poly_area") or 0, "min_poly_area", 0)


def _overlap(slide: SlideEmbeddings, box: SlideBox) -> NDArray[np.float64]:
    """Area of each region inside the box, level-0 px squared, [R]."""
    low = np.maximum(slide.coords, (box.left, box.top))
    high = np.minimum(slide.coords + slide.region_size_level0, (box.right, box.bottom))
    return np.clip(high - low, 0, None).prod(1)


def regions_in(slide: SlideEmbeddings, box: SlideBox) -> NDArray[np.intp]:
    """Regions that touch the box."""
    return np.flatnonzero(_overlap(slide, box) > 0)


def _insist(rows: NDArray[np.intp], slide: SlideEmbeddings, box: SlideBox) -> NDArray[np.intp]:
    if not len(rows):
        raise BundleError(
            f"no region with tissue in the box from ({box.left:g}, {box.top:g}) to ({box.right:g}, {box.bottom:g}) "
            f"of slide {slide.slide_id}: mark tissue."
        )
    return rows
