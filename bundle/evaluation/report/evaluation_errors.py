"""The patients that an evaluation got most wrong, with pictures of their slides where these are at hand."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...pages import SlidePicture, slide_uri
from ..findings import Evaluation, Method
from ..metrics.curves import discordant_share
from .evaluation_rows import pooled

_PICTURE_PX = 320
_MOST = 8  # of them are shown
_FEWEST_PAIRS = 5


class Mistake(NamedTuple):
    """One patient: row of the evaluation, what was said and what is true, JPEG of a slide as a data URI or ''."""

    row: int
    text: str
    picture: str


def worst_mistakes(evaluation: Evaluation, method: Method, picture: SlidePicture | None) -> list[Mistake]:
    """A method's most confident errors; for survival the patients that stand farthest from their place. Each once.

    Args:
        evaluation: records.
        method: one with predictions.
        picture: thumbnail by slide id; the first slide of the patient that has one is shown.
    """
    find = _misplaced if evaluation.task == "survival" else _misclassified
    found: dict[int, str] = {}
    for row, text in find(evaluation, method):
        found.setdefault(row, text)
    worst = list(found.items())[:_MOST]
    return [Mistake(row, text, _first_picture(evaluation.slides[row], picture)) for row, text in worst]


def _misclassified(evaluation: Evaluation, method: Method) -> list[tuple[int, str]]:
    rows, _, scores = pooled(evaluation, method)
    targets, said = evaluation.targets[rows].astype(int), scores.argmax(1)
    confidence = np.where(said == targets, -1.0, scores.max(1))
    order = np.argsort(-confidence, kind="stable")[: int((said != targets).sum())]
    found = []
    for i in order:
        true, false = (f"{evaluation.classes[c]} ({scores[i, c]:.2f})" for c in (targets[i], said[i]))
        found.append((int(rows[i]), f"true: {true}; predicted: {false}"))
    return found


def _misplaced(evaluation: Evaluation, method: Method) -> list[tuple[int, str]]:
    """Those with more pairs in wrong order than in right order, by how many more."""
    found = []
    for split in (p for p in evaluation.predictions if p.method == method and len(p.rows)):
        time, event = evaluation.targets[split.rows].T
        risk = split.scores[:, 0]
        share, pairs = discordant_share(time, event, risk)
        rank = (risk[:, None] < risk[None, :]).sum(1) + 1
        for i in np.flatnonzero((pairs >= _FEWEST_PAIRS) & (share > 0.5)):
            fate = "event at" if event[i] else "still without event at"
            text = f"{fate} time {time[i]:.4g}; risk ranks {rank[i]} of {len(risk)} in {split.split}; "
            text += f"{100 * share[i]:.0f} % of {pairs[i]} pairs in wrong order"
            found.append((float(pairs[i] * (2 * share[i] - 1)), int(split.rows[i]), text))
    return [(row, text) for _, row, text in sorted(found, key=lambda item: -item[0])]


def _first_picture(slides: list[str], picture: SlidePicture | None) -> str:
    return next(filter(None, (slide_uri(picture, slide, _PICTURE_PX) for slide in slides)), "")
