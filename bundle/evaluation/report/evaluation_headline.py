"""What a reader came for: which method is ahead, by how much, on how many patients, and whether it may be luck."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ...pages import cell_of
from ..findings import Comparison, Evaluation, Method
from ..metrics.curves import holm
from .evaluation_rows import best_method, interval_of, method_name, metric, metric_names

_CHANCE = 0.05


class Headline(NamedTuple):
    """``SLPD, region embedding, kNN``, ``AUC 0.87 ± 0.13``, ``[0.63, 1.00]``, and whom it is ahead of for sure, if any.

    ``ahead`` and ``level``: names of the methods that the best one was compared with in this metric, by whether p,
    adjusted for the number of comparisons, is below .05.
    """

    best: str
    metric: str
    bounds: str
    ahead: list[str]
    level: list[str]


def headline(evaluation: Evaluation) -> Headline | None:
    """Of the main metric; None where no method has it."""
    method, name = best_method(evaluation), next(iter(metric_names(evaluation)), "")
    interval = None if method is None else interval_of(evaluation, method, name)
    if method is None or interval is None:
        return None
    cell = cell_of(interval)
    p_values = holm([comparison.p_value for comparison in evaluation.comparisons])
    rivals = list(_rivals(method, name, zip(evaluation.comparisons, p_values, strict=True)))
    ahead = [method_name(rival) for rival, is_ahead in rivals if is_ahead]
    level = [method_name(rival) for rival, is_ahead in rivals if not is_ahead]
    return Headline(method_name(method), f"{metric(name).title} {cell.text}", cell.bounds, ahead, level)


def _rivals(method: Method, name: str, compared: Iterable[tuple[Comparison, float]]) -> Iterable[tuple[Method, bool]]:
    """Each method that was compared with ``method``, and whether ``method`` is ahead of it."""
    for comparison, p in compared:
        if comparison.metric == name and method in (comparison.a, comparison.b):
            rival = comparison.b if comparison.a == method else comparison.a
            sign = 1 if comparison.a == method else -1
            yield rival, p < _CHANCE and sign * comparison.difference.value > 0
