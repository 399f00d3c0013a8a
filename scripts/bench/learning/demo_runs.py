"""``python -m scripts.bench.learning.demo_runs FOLDER``: tables of what training adds, over seeds of demo slides."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tifffile
import torch
from scipy import stats
from torch import Tensor

from bundle.cohort import SlideTable
from bundle.core import read_history
from bundle.evaluation import SlideKNN
from bundle.storage import TokenDataset

from ..report import table
from .results import summarize

_METRICS = {"kNN accuracy": "loo_knn_accuracy", "kNN AUC": "loo_knn_auc"}
_COLOR, _TOKEN, _CENTERED = "mean color", "mean patch token", "mean patch token, centered"
_UNTRAINED = "untrained region encoder"
_LEAST_COLOR = 20  # tissue is where the largest and the smallest channel differ by as many gray levels
_OVERVIEW_PX = 256
History = Sequence[Mapping[str, float]]


def rivals_without_encoder(cohort: Path) -> dict[str, float]:
    """kNN AUC of the mean color of a slide's tissue and of its mean patch token, tokens as they are.

    Args:
        cohort: a folder with ``slides`` (and their table) and ``tokens``.
    """
    tokens = TokenDataset(cohort / "tokens")
    slides = SlideTable.read(cohort / "slides" / "slide_table.csv")
    labels, patients = slides.labels(tokens.slide_ids, "label"), slides.patients(tokens.slide_ids)
    colors = [_mean_color(cohort / "slides" / f"{Path(slide).stem}.tif") for slide in tokens.slide_ids]
    features = torch.stack([_mean_token(tokens[i]) for i in range(len(tokens))])
    given = {_COLOR: (torch.stack(colors), torch.arange(len(colors))), _TOKEN: (features, tokens.slide_index)}
    aucs = {}
    for name, output in given.items():
        knn = SlideKNN("embedding", labels, patients)
        knn.update(output)
        aucs[name] = knn.metrics()["auc"]
    return aucs


def _mean_token(region: Mapping[str, Tensor]) -> Tensor:
    return region["features"][region["mask"]].float().mean(0)


def _mean_color(slide: Path) -> Tensor:
    """Of the tissue, [3], from the smallest picture in the pyramid that is at least 256 px wide."""
    with tifffile.TiffFile(slide) as file:
        levels = [level for level in file.series[0].levels if max(level.shape) >= _OVERVIEW_PX]
        pixels = levels[-1].asarray().astype(np.int64)
    tissue = np.ptp(pixels, axis=2) >= _LEAST_COLOR
    return torch.from_numpy(pixels[tissue].mean(0)).float()


def learning_table(runs: Mapping[str, Sequence[History]]) -> str:
    """Markdown: mean patch token, untrained encoder, then every kind of run, mean +- sd over its seeds.

    Args:
        runs: kind -> histories, one a seed. Their epoch 0 gives the two baselines, their last epoch the result.
    """
    first = [history[0] for histories in runs.values() for history in histories]
    rows = [_row(_CENTERED, first, "mean_token_"), _row(_UNTRAINED, first)]
    rows += [_row(kind, [history[-1] for history in histories]) for kind, histories in runs.items()]
    return table(["embedding of a slide", *_METRICS], rows)


def seeds_table(aucs: Mapping[str, Mapping[int, float]]) -> str:
    """Markdown: the kNN AUC of every embedding by seed.

    Args:
        aucs: embedding -> seed -> AUC, as of :func:`aucs_of`.
    """
    seeds = sorted({seed for values in aucs.values() for seed in values})
    rows = [[name, *(f"{v[s]:.3f}" if s in v else "" for s in seeds)] for name, v in aucs.items()]
    return table(["kNN AUC, seed", *map(str, seeds)], rows)


def differences_table(aucs: Mapping[str, Mapping[int, float]], of: str = "SLPD") -> str:
    """Markdown: the kNN AUC of one embedding less that of every other one, paired over seeds.

    Mean, 95 % t interval, mean over its standard error, and in how many seeds it is above 0.

    Args:
        aucs: as of :func:`seeds_table`.
        of: the embedding.
    """
    own, rows = aucs[of], []
    for name, others in aucs.items():
        gain = np.array([own[seed] - others[seed] for seed in own if seed in others])
        if name == of or len(gain) < 2:
            continue
        found = stats.ttest_1samp(gain, 0)
        half = summarize(gain.tolist()).half
        ratio = f"{found.statistic:.1f}" if np.isfinite(found.statistic) else ""
        won = f"{int((gain > 0).sum())} of {len(gain)}"
        rows.append([f"{of} − {name}", f"{gain.mean():+.3f} ± {half:.3f}", ratio, won])
    return table(["kNN AUC, paired over seeds", "mean ± 95 %", "in standard errors", "seeds above 0"], rows)


def aucs_of(
    runs: Mapping[str, Mapping[int, History]], rivals: Mapping[int, Mapping[str, float]]
) -> dict[str, dict[int, float]]:
    """Embedding -> seed -> AUC.

    Args:
        runs: kind -> seed -> history, as of :func:`learning_table`. Both baselines of a seed are the same in all kinds.
        rivals: seed -> embedding -> AUC, as of :func:`rivals_without_encoder`.
    """
    found: dict[str, dict[int, float]] = {}
    for seed, values in rivals.items():
        for name, auc in values.items():
            found.setdefault(name, {})[seed] = auc
    found.update({_CENTERED: {}, _UNTRAINED: {}})
    for kind, histories in runs.items():
        for seed, history in histories.items():
            found[_CENTERED][seed] = history[0]["mean_token_loo_knn_auc"]
            found[_UNTRAINED][seed] = history[0]["loo_knn_auc"]
            found.setdefault(kind, {})[seed] = history[-1]["loo_knn_auc"]
    return found


def _row(title: str, epochs: Sequence[Mapping[str, float]], prefix: str = "") -> list[str]:
    cells = [title]
    for name in _METRICS.values():
        values = [epoch[prefix + name] for epoch in epochs]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        cells.append(f"{statistics.mean(values):.3f} ± {spread:.3f}")
    return cells


def main() -> None:
    """Read folders ``<kind>-<seed>``, a ``history.csv`` in each, and ``cohort_<seed>``; print the tables."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    cohorts = {int(path.name.removeprefix("cohort_")): path for path in sorted(folder.glob("cohort_*"))}
    runs: dict[str, dict[int, History]] = {}
    for path in sorted(folder.glob("*-*/history.csv")):
        kind, _, seed = path.parent.name.rpartition("-")
        if int(seed) in cohorts:  # runs of other slides may lie there
            runs.setdefault(kind, {})[int(seed)] = read_history(path)
    if not runs:
        raise SystemExit(f"no <kind>-<seed>/history.csv in {folder}")
    print(learning_table({kind: list(histories.values()) for kind, histories in runs.items()}))
    aucs = aucs_of(runs, {seed: rivals_without_encoder(path) for seed, path in cohorts.items()})
    print(seeds_table(aucs))
    if "SLPD" in runs:
        print(differences_table(aucs))


if __name__ == "__main__":
    main()
