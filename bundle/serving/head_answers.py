"""What a saved head says of a slide, as one more question of a viewer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..heads import Head, load_head
from ..pages import prototype_colors
from ..storage import SlideEmbeddings
from .annotations import annotation, around_tissue
from .answers import Answer, Question, box_of, min_area_of, regions_in


def head_questions(path: Path | None) -> dict[str, Question]:
    """The question ``head_prediction`` of a saved head; none without one.

    Raises:
        BundleError: the head is missing or damaged.
    """
    if path is None:
        return {}
    head = load_head(path)
    what = "Risk" if head.record.is_survival else f"Classes of {head.record.label!r}"
    description = f"{what} that a head learned: of the slide, and of each region by itself"

    def answer(slide: SlideEmbeddings, request: Mapping[str, Any]) -> Answer:
        return answer_head(head, slide, request)

    return {"head_prediction": Question(description, head.labels, {}, answer)}


def answer_head(head: Head, slide: SlideEmbeddings, request: Mapping[str, Any]) -> Answer:
    """Regions of the box colored by what the head calls them, and what it says of the whole slide.

    ``seen_in_training`` is whether it was trained on a slide of this id; a viewer does not say whose it is.

    Raises:
        BundleError: the slide's embeddings are none that the head takes.
    """
    head.insist(slide)
    box = box_of(slide, request)
    names, scores, said = head.labels, head.scores([slide])[None], head.of_regions(slide)
    called, rows = head.called(said.scores), regions_in(slide, box)
    colors = dict(zip(names, (color.tolist() for color in prototype_colors(len(names))), strict=True))
    labelled = ((names[called[row]], around_tissue(slide, row)) for row in rows)
    return {
        "annotation": annotation(box, labelled, colors, min_area_of(request)),
        "prediction": names[head.called(scores)[0]],
        **_numbers(head, scores[0]),
        "seen_in_training": head.has_seen(slide.slide_id, slide.slide_id),
        "regions": [
            {
                "location": slide.coords[row].tolist(),
                "size": [slide.region_size_level0] * 2,
                "prediction": names[called[row]],
                "share": round(float(said.weights[row]), 6),
                **_numbers(head, said.scores[row]),
            }
            for row in rows
        ],
    }


def _numbers(head: Head, scores: Any) -> Answer:
    if head.record.is_survival:
        return {"risk": round(float(scores[0]), 6)}
    pairs = zip(head.record.classes, scores, strict=True)
    return {"probabilities": {name: round(float(value), 6) for name, value in pairs}}
