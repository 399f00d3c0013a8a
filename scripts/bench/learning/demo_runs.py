"""``python -m scripts.bench.learning.demo_runs FOLDER``: tables of what training adds, over seeds of demo slides."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy import stats

from bundle.core import read_history

from ..report import table

_METRICS = {"kNN accuracy": "knn_accuracy", "kNN AUC": "knn_auc"}
_MEAN_TOKEN, _UNTRAINED = "mean patch token", "untrained region encoder"
History = Sequence[Mapping[str, float]]


def learning_table(runs: Mapping[str, Sequence[History]]) -> str:
    """Markdown: mean patch token, untrained encoder, then every kind of run, mean +- sd over its seeds.

    Args:
        runs: kind -> histories, one a seed. Their epoch 0 gives the two baselines, their last epoch the result.
    """
    first = [history[0] for histories in runs.values() for history in histories]
    rows = [_row(_MEAN_TOKEN, first, "mean_token_"), _row(_UNTRAINED, first)]
    rows += [_row(kind, [history[-1] for history in histories]) for kind, histories in runs.items()]
    return table(["embedding of a slide", *_METRICS], rows)


def seeds_table(runs: Mapping[str, Mapping[int, History]]) -> str:
    """Markdown: the kNN AUC of every embedding by seed.

    Args:
        runs: kind -> seed -> history, as of :func:`learning_table`.
    """
    aucs = _aucs(runs)
    seeds = sorted({seed for values in aucs.values() for seed in values})
    rows = [[name, *(f"{v[s]:.3f}" if s in v else "" for s in seeds)] for name, v in aucs.items()]
    return table(["kNN AUC, seed", *map(str, seeds)], rows)


def differences_table(runs: Mapping[str, Mapping[int, History]], of: str = "SLPD") -> str:
    """Markdown: the kNN AUC of one kind of run less that of every other embedding, paired over seeds.

    Mean, 95 % t interval, mean over its standard error, and in how many seeds it is above 0.

    Args:
        runs: as of :func:`seeds_table`.
        of: the kind.
    """
    aucs = _aucs(runs)
    own, rows = aucs.pop(of), []
    for name, others in aucs.items():
        gain = np.array([own[seed] - others[seed] for seed in own if seed in others])
        if len(gain) < 2:
            continue
        error = float(gain.std(ddof=1)) / len(gain) ** 0.5
        half = float(stats.t.ppf(0.975, len(gain) - 1)) * error
        ratio = f"{gain.mean() / error:.1f}" if error > 0 else ""
        won = f"{int((gain > 0).sum())} of {len(gain)}"
        rows.append([f"{of} − {name}", f"{gain.mean():+.3f} ± {half:.3f}", ratio, won])
    return table(["kNN AUC, paired over seeds", "mean ± 95 %", "in standard errors", "seeds above 0"], rows)


def _aucs(runs: Mapping[str, Mapping[int, History]]) -> dict[str, dict[int, float]]:
    """Embedding -> seed -> AUC; both baselines of a seed are the same in all kinds of runs."""
    found: dict[str, dict[int, float]] = {_MEAN_TOKEN: {}, _UNTRAINED: {}}
    for kind, histories in runs.items():
        for seed, history in histories.items():
            found[_MEAN_TOKEN][seed] = history[0]["mean_token_knn_auc"]
            found[_UNTRAINED][seed] = history[0]["knn_auc"]
            found.setdefault(kind, {})[seed] = history[-1]["knn_auc"]
    return found


def _row(title: str, epochs: Sequence[Mapping[str, float]], prefix: str = "") -> list[str]:
    cells = [title]
    for name in _METRICS.values():
        values = [epoch[prefix + name] for epoch in epochs]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        cells.append(f"{statistics.mean(values):.3f} ± {spread:.3f}")
    return cells


def main() -> None:
    """Read folders ``<kind>-<seed>``, a ``history.csv`` in each, and print the tables."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    runs: dict[str, dict[int, History]] = {}
    for path in sorted(folder.glob("*-*/history.csv")):
        kind, _, seed = path.parent.name.rpartition("-")
        runs.setdefault(kind, {})[int(seed)] = read_history(path)
    if not runs:
        raise SystemExit(f"no <kind>-<seed>/history.csv in {folder}")
    print(learning_table({kind: list(histories.values()) for kind, histories in runs.items()}))
    print(seeds_table(runs))
    if "SLPD" in runs:
        print(differences_table(runs))


if __name__ == "__main__":
    main()
