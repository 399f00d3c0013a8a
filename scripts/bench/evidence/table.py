"""The table of the evidence, from the files that its pieces wrote."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import report
from ..tissue.cohort import Cohort
from .pieces import TOKENS, UNTRAINED, Arms
from .scores import Floats, Predicted, auc, balanced_accuracy, read_predictions, resampled, score, smallest_difference

_N_RESAMPLES = 2000
_FIGURES = {"balanced accuracy": balanced_accuracy, "AUC": auc}
Arm = tuple[str, ...]


def as_text(options: argparse.Namespace, cohort: Cohort, arms: Arms, pieces: Mapping[str, Any]) -> str:
    """Markdown of what there is: the table, paired differences, robustness, time and memory."""
    found = {seed: options.output / "evaluation" / str(seed) / "predictions.csv" for seed in options.seeds}
    predictions = {seed: read_predictions(path) for seed, path in found.items() if path.exists()}
    lines = ["# SLPD on tissue: the table\n"]
    if predictions:
        lines += _organ_tables(options, cohort, arms, predictions)
    lines += [_robustness(options), _time(pieces)]
    return "\n".join(part for part in lines if part)


def _organ_tables(
    options: argparse.Namespace, cohort: Cohort, arms: Arms, predictions: dict[int, dict[Arm, Predicted]]
) -> list[str]:
    first = next(iter(predictions.values()))
    truth = next(iter(first.values())).truth
    counts = resampled(truth, _N_RESAMPLES, 0)
    resamples = {  # mean over seeds, the same patients drawn for all
        name: {arm: np.mean([figure(p[arm], counts) for p in predictions.values()], axis=0) for arm in first}
        for name, figure in _FIGURES.items()
    }
    rows = [
        [*_words(arm), *(_cell(score(resamples[name][arm])) for name in _FIGURES)]
        for arm in sorted(first, key=lambda arm: _place(arm, arms))
    ]
    chance = 1 / len(np.unique(truth))
    seeds = ", ".join(map(str, predictions))
    head = (
        f"{options.label} of {len(truth)} patients ({', '.join(cohort.classes)}; chance {chance:.3f}), "
        f"{cohort.n_slides} slides, {options.n_folds} folds by patient; mean over seeds {seeds} of training, folds and "
        f"probes; in brackets 95 % over {_N_RESAMPLES:,} resamples of patients.\n"
    )
    table = report.table(["encoder", "features", "protocol", *_FIGURES], rows)
    return [head, table, _differences(resamples, arms)]


def _differences(resamples: dict[str, dict[Arm, Floats]], arms: Arms) -> str:
    """The last arm minus each other encoder, under the same protocol on one vector a patient."""
    ours = list(arms.arms)[-1]
    protocols = sorted({arm[2] for arm in resamples["AUC"] if arm[:2] == (ours, "region_embedding")})
    rows, widths = [], []
    for protocol in protocols:
        for other in (*list(arms.arms)[:-1], UNTRAINED, TOKENS):
            its = (other, "mean_token" if other == TOKENS else "region_embedding", protocol)
            cells = []
            for name in _FIGURES:
                if its not in resamples[name]:
                    break
                difference = resamples[name][ours, "region_embedding", protocol] - resamples[name][its]
                cells.append(_cell(score(difference), sign="+"))
                widths.append(smallest_difference(difference) if name == "balanced accuracy" else np.nan)
            if cells:
                rows.append([f"{ours} - {_words(its)[0]}", protocol, *cells])
    if not rows:
        return ""
    least = float(np.nanmedian(widths))
    note = (
        f"Smallest difference of balanced accuracy that so many patients would show with a power of 80 %: {least:.2f} "
        "(2.8 standard errors, median of these pairs).\n"
    )
    return "\n".join([report.table(["paired on the same patients", "protocol", *_FIGURES], rows), note])


def _robustness(options: argparse.Namespace) -> str:
    """Robustness index and identity probes of the corpus with a second scanner, each seed's own."""
    rows: dict[tuple[str, str], list[float]] = {}
    for seed in options.seeds:
        path: Path = options.output / "second scanner" / str(seed) / "results.json"
        for encoder, figures in json.loads(path.read_text()).get("robustness", {}).items() if path.exists() else ():
            for name, value in figures.items():
                rows.setdefault((encoder, name), []).append(value)
    return ""


def _time(pieces: Mapping[str, Any]) -> str:
    rows = [[name, f"{usage['seconds'] / 60:.1f}", f"{usage['peak_mib']:,.0f}"] for name, usage in pieces.items()]
    return report.table(["piece", "minutes", "peak MiB"], rows) if rows else ""


def _words(arm: Arm) -> list[str]:
    encoder, features, protocol = arm
    return ["mean token" if encoder == TOKENS and features == "mean_token" else encoder, features, protocol]


def _place(arm: Arm, arms: Arms) -> tuple[Any, ...]:
    order = [TOKENS, UNTRAINED, *arms.arms]
    return (order.index(arm[0]) if arm[0] in order else len(order), *arm)


def _cell(found: Any, sign: str = "") -> str:
    return f"{found.value:{sign}.3f} [{found.low:{sign}.3f}, {found.high:{sign}.3f}]"
