"""What only the cohort tells of a slide: copies under other names, and um/px that are far from all others'."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from .look import Look

_ALIKE = 0.99  # correlation of two thumbnails; docs/checking.md has those of copies and of others
_SAME_SHAPE = 0.01
_BLOCK = 1024
_FAR_MPP, _LEAST_KNOWN = 3.0, 5  # 20x and 40x may stand side by side; slides that tell what is usual


def compare_slides(looks: Sequence[Look], may_be_first: Callable[[Look], bool] = lambda look: True) -> None:
    """Add the problems and warnings of a cohort to its looks.

    Args:
        looks: of all slides, in their order.
        may_be_first: of copies the first such one is kept, if there is any, such as one with a row in the slide table.
    """
    _find_copies(looks, may_be_first)
    known = [look.mpp for look in looks if math.isfinite(look.mpp)]
    usual = float(np.median(known)) if len(known) >= _LEAST_KNOWN else math.nan
    for look in looks:
        if not 1 / _FAR_MPP < look.mpp / usual < _FAR_MPP and math.isfinite(look.mpp / usual):
            look.warnings.append(
                f"its {look.mpp:.3g} um/px ({look.mpp_source}) are far from the cohort's median of {usual:.3g}"
            )


def _find_copies(looks: Sequence[Look], may_be_first: Callable[[Look], bool]) -> None:
    """All but one of slides that show the same have a problem: on both sides of a split they would be no test."""
    seen = [look for look in looks if look.small and not look.problem]
    for group in _groups(seen):
        group.sort(key=lambda look: not may_be_first(look))
        first, *copies = group
        for copy in copies:
            copy.add_problem(
                f"shows the same as slide {first.ref.slide_id} ({first.ref.path.name}): a "
                "copy under another name. Keep one of them."
            )


def _groups(looks: Sequence[Look]) -> list[list[Look]]:
    """Slides that look alike, two and more."""
    if len(looks) < 2:
        return []
    gray = np.array([look.small for look in looks], np.float32)
    gray -= gray.mean(1, keepdims=True)
    gray /= np.linalg.norm(gray, axis=1, keepdims=True)
    shape = np.array([math.log(look.width / look.height) for look in looks])
    group_of = list(range(len(looks)))
    for start in range(0, len(looks), _BLOCK):
        alike = gray[start : start + _BLOCK] @ gray.T > _ALIKE
        alike &= np.abs(shape[start : start + _BLOCK, None] - shape) < _SAME_SHAPE
        for i, j in zip(*np.nonzero(alike), strict=True):
            if j > i + start and group_of[j] == j:
                group_of[j] = group_of[i + start]
    members: dict[int, list[Look]] = {}
    for look, group in zip(looks, group_of, strict=True):
        members.setdefault(group, []).append(look)
    return [group for group in members.values() if len(group) > 1]
