"""``python -m scripts.bench.learning.demo_runs FOLDER``: a table of what training adds, with the spread over seeds."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from bundle.core import read_history

from ..report import table

_METRICS = {"kNN accuracy": "knn_accuracy", "kNN AUC": "knn_auc"}


def learning_table(runs: Mapping[str, Sequence[Sequence[Mapping[str, float]]]]) -> str:
    """Markdown: mean patch token, untrained encoder, then every kind of run, mean +- sd over its seeds.

    Args:
        runs: kind -> histories, one a seed. Their epoch 0 gives the two baselines, their last epoch the result.
    """
    first = [history[0] for histories in runs.values() for history in histories]
    rows = [_row("mean patch token", first, "mean_token_"), _row("untrained region encoder", first)]
    rows += [_row(kind, [history[-1] for history in histories]) for kind, histories in runs.items()]
    return table(["embedding of a slide", *_METRICS], rows)


def _row(title: str, epochs: Sequence[Mapping[str, float]], prefix: str = "") -> list[str]:
    cells = [title]
    for name in _METRICS.values():
        values = [epoch[prefix + name] for epoch in epochs]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        cells.append(f"{statistics.mean(values):.3f} ± {spread:.3f}")
    return cells


def main() -> None:
    """Read folders ``<kind>-<seed>``, a ``history.csv`` in each, and print the table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    runs: dict[str, list[list[dict[str, float]]]] = {}
    for path in sorted(folder.glob("*-*/history.csv")):
        runs.setdefault(path.parent.name.rsplit("-", 1)[0], []).append(read_history(path))
    if not runs:
        raise SystemExit(f"no <kind>-<seed>/history.csv in {folder}")
    print(learning_table(runs))


if __name__ == "__main__":
    main()
