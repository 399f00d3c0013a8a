"""What stands in the tables of an evaluation: metrics of all methods, comparisons, confusion, settings."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from sklearn.metrics import confusion_matrix

from ...pages import Cell, cell_of, p_text
from ..findings import Comparison, Evaluation
from ..metrics.curves import holm
from .evaluation_rows import drawn_methods, method_name, metric, metric_names, pooled, readable, share_text


class ResultRow(NamedTuple):
    """A method: encoder, the rest of its name, whether that was pre-trained on slides tested here, a cell a metric."""

    encoder: str
    rest: str
    is_overlapping: bool
    cells: list[Cell]


class ComparisonRow(NamedTuple):
    """Two methods: ``first − second`` by encoder and by all else, title of the metric, p-value and adjusted p-value."""

    encoders: str
    rest: str
    metric: str
    difference: Cell
    p: str
    adjusted: str


def result_rows(evaluation: Evaluation) -> list[ResultRow]:
    """All methods with a cell for each of ``metric_names``."""
    best = {name: _clearly_best(evaluation, name) for name in metric_names(evaluation)}
    rows = []
    for position, result in enumerate(evaluation.results):
        method, summary = result.method, result.summary
        cells = [
            cell_of(summary[name])._replace(is_best=marked == position) if name in summary else Cell("–")
            for name, marked in best.items()
        ]
        rest = ", ".join([readable(method.features), readable(method.protocol), share_text(method)])
        overlap = evaluation.pretraining_overlap.get(method.encoder)
        rows.append(ResultRow(readable(method.encoder), rest, bool(overlap), cells))
    return rows


def missing_folds(evaluation: Evaluation) -> list[tuple[str, int]]:
    """Title of each metric that some folds could not give, and over how few folds it is."""
    if evaluation.split_kind != "folds":
        return []
    found = []
    for name in metric_names(evaluation):
        n = min(result.summary[name].n for result in evaluation.results if name in result.summary)
        found.append((metric(name).title, n))
    return [(title, n) for title, n in found if n < len(evaluation.splits)]


def interval_methods(evaluation: Evaluation) -> dict[str, int]:
    """How the intervals of the results were made, and over how many folds or samples at most."""
    found = [i for result in evaluation.results for i in result.summary.values() if math.isfinite(i.low)]
    return {interval.method: max(i.n for i in found if i.method == interval.method) for interval in found}


def _clearly_best(evaluation: Evaluation, name: str) -> int | None:
    """The row whose interval is better than, and apart from, that of every other row; mostly there is none."""
    sign = metric(name).sign
    known = [(i, r.summary[name]) for i, r in enumerate(evaluation.results) if name in r.summary]
    known = [(position, interval) for position, interval in known if math.isfinite(interval.value)]
    if sign == 0 or len(known) < 2:
        return None
    best, interval = max(known, key=lambda item: sign * item[1].value)
    near, far = (interval.low, "high") if sign > 0 else (interval.high, "low")
    apart = [sign * (near - getattr(other, far)) > 0 for position, other in known if position != best]
    return best if all(apart) else None


def comparison_rows(evaluation: Evaluation) -> list[ComparisonRow]:
    """Differences between methods on the same patients, with p-values as they are and adjusted for their number."""
    adjusted = holm([comparison.p_value for comparison in evaluation.comparisons])
    return [_comparison_row(c, p) for c, p in zip(evaluation.comparisons, adjusted, strict=True)]


def _comparison_row(comparison: Comparison, adjusted: float) -> ComparisonRow:
    words = [[*map(readable, method[:3]), share_text(method)] for method in (comparison.a, comparison.b)]
    encoders, *rest = (a if a == b else f"{a} − {b}" for a, b in zip(*words, strict=True))
    difference = cell_of(comparison.difference, signed=True)
    p_values = p_text(comparison.p_value), p_text(adjusted)
    return ComparisonRow(encoders, ", ".join(rest), metric(comparison.metric).title, difference, *p_values)


def confusion_tables(evaluation: Evaluation) -> dict[str, list[tuple[str, list[tuple[int, float]]]]]:
    """Method -> a row a true class: its name, and count and share of the row for each predicted class."""
    tables = {}
    for method in drawn_methods(evaluation):
        predicted = pooled(evaluation, method)
        truth, said = evaluation.targets[predicted.rows].astype(int), predicted.scores.argmax(1)
        counts = confusion_matrix(truth, said, labels=range(len(evaluation.classes)))
        shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
        cells = [list(zip(*row, strict=True)) for row in zip(counts.tolist(), shares.tolist(), strict=True)]
        tables[method_name(method)] = list(zip(evaluation.classes, cells, strict=True))
    return tables


def setting_rows(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """What the run was asked for, name and value; nested ones with dots."""
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from setting_rows(value, f"{prefix}{name}.")
        elif isinstance(value, list | tuple):
            yield f"{prefix}{name}", ", ".join(map(str, value)) or "–"
        else:
            yield f"{prefix}{name}", "–" if value is None or value == {} else str(value)
