"""A table of what training adds: slide-level kNN of several runs, with the spread over seeds."""

import argparse
import logging
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...core import read_history

_METRICS = (("accuracy", "knn_accuracy"), ("AUC", "knn_auc"))


def learning_table(runs: Mapping[str, Sequence[Sequence[Mapping[str, float]]]]) -> str:
    """Markdown: mean patch token, untrained encoder, then every kind of run, mean +- sd over its seeds.

    Args:
        runs: kind -> histories, one a seed. Their epoch 0 gives the two baselines, their last epoch the result.
    """
    histories = [history for kind in runs.values() for history in kind]
    first = [history[0] for history in histories]
    last = {kind: [history[-1] for history in kind_histories] for kind, kind_histories in runs.items()}
    lines = ["| embedding of a slide | " + " | ".join(f"kNN {title}" for title, _ in _METRICS) + " |", "|---|---|---|"]
    lines.append(_line("mean patch token", first, "mean_token_"))
    lines.append(_line("untrained region encoder", first))
    lines += [_line(kind, rows) for kind, rows in last.items()]
    return "\n".join(lines) + "\n"


def _line(title: str, rows: Sequence[Mapping[str, float]], prefix: str = "") -> str:
    cells = []
    for _, name in _METRICS:
        values = [row[prefix + name] for row in rows]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        cells.append(f"{statistics.mean(values):.3f} ± {spread:.3f}")
    return f"| {title} | {' | '.join(cells)} |"


def main() -> None:
    """``python -m bundle.evaluation.report.learning FOLDER``: folders ``<kind>-<seed>``, a ``history.csv`` in each."""
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
    logging.basicConfig(level=logging.INFO)
    main()
