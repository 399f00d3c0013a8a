"""Metrics of an evaluation for the console: of each method its AUC (or the metric that the task has)."""

from __future__ import annotations

import csv
import math
from pathlib import Path

_METRICS = ("auc", "quadratic_kappa", "c_index")  # the first that the table has
_NAMES = {"tokens": "mean patch token", "untrained": "untrained region encoder"}
_MOST = 8


def score_lines(folder: Path, label: str) -> list[str]:
    """A line a method, best first, with the interval; nothing where nothing was evaluated.

    Args:
        folder: what evaluating has written.
        label: what was predicted, in words.
    """
    table = folder / "results.csv"
    if not table.is_file():
        return []
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    metric = next((name for name in _METRICS if any(row["metric"] == name for row in rows)), "")
    most = max((float(row["train_fraction"]) for row in rows), default=1.0)
    kept = [row for row in rows if row["metric"] == metric and float(row["train_fraction"]) == most]
    kept.sort(key=lambda row: -_number(row["value"]))
    if not kept:
        return []
    lines = [f"{metric} of {label}, by patient{_folds(kept)} [95 % interval]"]
    for row in kept[:_MOST]:
        name = f"{_NAMES.get(row['encoder'], row['encoder'])}, {row['protocol']} on {row['features']}"
        lines.append(
            f"  {name:<54} {_number(row['value']):.2f}  [{_number(row['low']):.2f}, {_number(row['high']):.2f}]"
        )
    return lines


def _folds(rows: list[dict[str, str]]) -> str:
    """How often patients were tested, which tells these metrics from the kNN that training looks at meanwhile."""
    folds = {row["n"] for row in rows if row["interval"] == "nadeau-bengio"}
    return f", mean of {folds.pop()} folds" if len(folds) == 1 else ""


def _number(word: str) -> float:
    return float(word) if word else math.nan
