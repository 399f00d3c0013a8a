"""What a reader came for: which arm is ahead, by how much, on how many patients, and whether that is more than luck."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ...pages import cell_of
from ..findings import Arm, Comparison, Evaluation
from ..metrics.curves import holm
from .evaluation_rows import arm_name, best_arm, interval_of, metric, metric_names

_CHANCE = 0.05


class Headline(NamedTuple):
    """``SLPD, region embedding, kNN``, ``AUC 0.87 ± 0.13``, ``[0.63, 1.00]``, and whom it is ahead of for sure, if any.

    ``ahead`` and ``level``: names of the arms that the best one was compared with in this metric, by whether p,
    adjusted for the number of comparisons, is below .05.
    """

    best: str
    figure: str
    bounds: str
    ahead: list[str]
    level: list[str]


def headline(evaluation: Evaluation) -> Headline | None:
    """Of the main metric; None where no arm has it."""
    arm, name = best_arm(evaluation), next(iter(metric_names(evaluation)), "")
    interval = None if arm is None else interval_of(evaluation, arm, name)
    if arm is None or interval is None:
        return None
    cell = cell_of(interval)
    p_values = holm([comparison.p_value for comparison in evaluation.comparisons])
    rivals = list(_rivals(arm, name, zip(evaluation.comparisons, p_values, strict=True)))
    ahead = [arm_name(rival) for rival, is_ahead in rivals if is_ahead]
    level = [arm_name(rival) for rival, is_ahead in rivals if not is_ahead]
    return Headline(arm_name(arm), f"{metric(name).title} {cell.text}", cell.bounds, ahead, level)


def _rivals(arm: Arm, name: str, compared: Iterable[tuple[Comparison, float]]) -> Iterable[tuple[Arm, bool]]:
    """Each arm that was compared with ``arm``, and whether ``arm`` is ahead of it."""
    for comparison, p in compared:
        if comparison.metric == name and arm in (comparison.a, comparison.b):
            rival = comparison.b if comparison.a == arm else comparison.a
            sign = 1 if comparison.a == arm else -1
            yield rival, p < _CHANCE and sign * comparison.difference.value > 0
