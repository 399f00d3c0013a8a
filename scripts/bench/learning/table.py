"""Markdown tables of finished runs."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..report import table
from .methods import Method
from .probes import METRICS
from .results import BASELINES, Results, Summary

_COMPARED = ("knn_accuracy", "knn_auc", "linear", "prototype", "slide")


def tables(results: Results, methods: Sequence[Method]) -> str:
    """For each level: every row's scores, then each method minus the DINO that it was forked from."""
    parts = []
    for level in results.levels():
        present = [method for method in methods if results.scores(level, method.name, "knn_accuracy")]
        names = [name for name in BASELINES if results.scores(level, name, "knn_accuracy")]
        n_seeds = (
            max(results.summary(level, method.name, "knn_accuracy").n_seeds for method in present) if present else 1
        )
        parts.append(f"### {level.capitalize()}\n\n{n_seeds} seed(s); mean ± half width of the 95 % t interval.\n")
        parts.append(_scores(results, level, [*names, *(method.name for method in present)]))
        parts.append(_differences(results, level, present))
    return "\n".join(part for part in parts if part)


def _scores(results: Results, level: str, names: Sequence[str]) -> str:
    metrics = [m for m in METRICS if any(results.scores(level, name, m) for name in names)]
    rows = [[name, *(_cell(results.summary(level, name, m)) for m in metrics)] for name in names]
    return table(["embedding", *(METRICS[m] for m in metrics)], rows)


def _differences(results: Results, level: str, methods: Sequence[Method]) -> str:
    pairs = [(method.name, method.parent) for method in methods if method.parent]
    pairs += [(method.name, "DINO") for method in methods if method.parent is None and method.name != "DINO"]
    pairs = [pair for pair in pairs if results.difference(level, *pair, "knn_accuracy").n_seeds]
    if not pairs:
        return ""
    rows = [
        [f"{ours} − {theirs}", *(_cell(results.difference(level, ours, theirs, m), "+") for m in _COMPARED)]
        for ours, theirs in pairs
    ]
    return table(["paired over seeds", *(METRICS[m] for m in _COMPARED)], rows)


def _cell(summary: Summary, sign: str = "") -> str:
    if not summary.n_seeds:
        return "–"
    mean = f"{summary.mean:{sign}.3f}".replace("-", "−")
    return mean if math.isnan(summary.half) else f"{mean} ± {summary.half:.3f}"
