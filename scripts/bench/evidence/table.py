"""The table of the evidence, from the files that its pieces wrote."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from bundle.evaluation.features.pooled_features import POOLED
from bundle.evaluation.features.region_encoders import TOKENS, UNTRAINED

from .. import report
from ..tissue.cohort import Cohort
from .pieces import HARMONIZED, Methods, evaluation_of, second_evaluation_of
from .scores import (
    METHOD,
    Floats,
    Predicted,
    auc,
    balanced_accuracy,
    read_predictions,
    resampled,
    score,
    smallest_difference,
)

_N_RESAMPLES = 2000
_HOW = {None: "vectors as they are", "center_site": "sites centered", "combat": "ComBat"}
_ROBUSTNESS = {
    "robustness index": "robustness_index",
    "which slide": "slide_identity",
    "which scanner": "site_identity",
}
_FIGURES = {"balanced accuracy": balanced_accuracy, "AUC": auc}
Method = tuple[str, ...]


def as_text(options: argparse.Namespace, cohort: Cohort, methods: Methods, pieces: Mapping[str, Any]) -> str:
    """Markdown of what there is: the table, paired differences, robustness, time and memory."""
    found = {seed: evaluation_of(options.output, seed) / "predictions.csv" for seed in options.seeds}
    predictions = {seed: read_predictions(path) for seed, path in found.items() if path.exists()}
    lines = ["# SLPD on tissue: the table\n"]
    if predictions:
        lines += _organ_tables(options, cohort, methods, predictions)
    lines += [_outline(options, methods), _robustness(options, methods), _time(pieces)]
    return "\n".join(part for part in lines if part)


def numbers(options: argparse.Namespace, pieces: Mapping[str, Any]) -> dict[str, Any]:
    """What stands behind the tables: metrics of each method and seed, outlines, robustness; seconds and memory."""
    methods, outlines, robustness = [], {}, {}
    for seed in options.seeds:
        folder = evaluation_of(options.output, seed)
        if (folder / "predictions.csv").exists():
            for method, predicted in read_predictions(folder / "predictions.csv").items():
                counts = np.ones((1, len(predicted.truth)))
                metrics = {name: round(float(metric(predicted, counts)[0]), 4) for name, metric in _FIGURES.items()}
                methods.append({"seed": seed, **dict(zip(METHOD, method, strict=True)), **metrics})
        if (folder / "outline.json").exists():
            outlines[seed] = json.loads((folder / "outline.json").read_text())
        for how in HARMONIZED:
            path = second_evaluation_of(options.output, how, seed) / "results.json"
            if path.exists():
                rows = json.loads(path.read_text())["robustness"]
                robustness[f"{how or 'as it is'} {seed}"] = [
                    {k: v for k, v in row.items() if k != "curve"} for row in rows
                ]
    return {"methods": methods, "outline": outlines, "robustness": robustness, "pieces": dict(pieces)}


def _organ_tables(
    options: argparse.Namespace, cohort: Cohort, methods: Methods, predictions: dict[int, dict[Method, Predicted]]
) -> list[str]:
    first = next(iter(predictions.values()))
    truth = next(iter(first.values())).truth
    counts = resampled(truth, _N_RESAMPLES, 0)
    resamples = {  # mean over seeds, the same patients drawn for all
        name: {method: np.mean([metric(p[method], counts) for p in predictions.values()], axis=0) for method in first}
        for name, metric in _FIGURES.items()
    }
    shown = sorted(first, key=lambda method: _place(method, methods))
    rows = [[*_words(method), *(_cell(score(resamples[name][method])) for name in _FIGURES)] for method in shown]
    kinds = ["pooled" if method[1] in POOLED else "bag" if "mil" in method[2] else "vector" for method in shown]
    vectors, bags, pooled = (
        [row for row, own in zip(rows, kinds, strict=True) if own == kind] for kind in ("vector", "bag", "pooled")
    )
    names = ["encoder", "features"]
    chance = 1 / len(np.unique(truth))
    seeds = ", ".join(map(str, predictions))
    head = (
        f"{options.label} of {len(truth)} patients ({', '.join(cohort.classes)}; chance {chance:.3f}), "
        f"{cohort.n_slides} slides, {options.n_folds} folds by patient; mean over seeds {seeds} of training, folds and "
        f"probes; in brackets 95 % over {_N_RESAMPLES:,} resamples of patients.\n"
    )
    found = [head, *(_side_by_side(names, part) for part in (vectors, bags) if part), _differences(resamples, methods)]
    if pooled:
        found += ["Vectors of prototypes without labels (16 of all training patients):\n", _side_by_side(names, pooled)]
    return found


def _side_by_side(header: list[str], rows: list[list[str]]) -> str:
    """A row for what is named alike, the cells of its protocols beside one another; rows: names, protocol, cells."""
    protocols = list(dict.fromkeys(row[len(header)] for row in rows))
    found: dict[tuple[str, ...], dict[str, list[str]]] = {}
    for row in rows:
        found.setdefault(tuple(row[: len(header)]), {})[row[len(header)]] = row[len(header) + 1 :]
    columns = [f"{protocol}: {name}" for protocol in protocols for name in _FIGURES]
    nothing = [""] * len(_FIGURES)
    joined = [
        [*names, *(cell for protocol in protocols for cell in of.get(protocol, nothing))] for names, of in found.items()
    ]
    return report.table([*header, *columns], joined)


def _differences(resamples: dict[str, dict[Method, Floats]], methods: Methods) -> str:
    """The last method minus each other encoder, under the same protocol on one vector a patient."""
    ours = list(methods.methods)[-1]
    protocols = sorted({method[2] for method in resamples["AUC"] if method[:2] == (ours, "region_embedding")})
    rows, widths = [], []
    for protocol in protocols:
        for other in (*list(methods.methods)[:-1], UNTRAINED, TOKENS):
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
    return "\n".join([_side_by_side(["paired on the same patients"], rows), note])


def _robustness(options: argparse.Namespace, methods: Methods) -> str:
    """Of the corpus with a second scanner: what vectors go by, and the class, under each way to take sites out."""
    rows = []
    for how in HARMONIZED:
        paths = [second_evaluation_of(options.output, how, seed) / "results.json" for seed in options.seeds]
        found = [json.loads(path.read_text()) for path in paths if path.exists()]
        if not found:
            continue
        cells: dict[tuple[str, str], list[str]] = {}
        for name, key in _ROBUSTNESS.items():
            measured = [row for of_seed in found for row in of_seed["robustness"] if row["metric"] == key]
            for encoder in {row["encoder"] for row in measured}:
                own = [row for row in measured if row["encoder"] == encoder]
                cells[encoder, name] = [_mean([row["interval"] for row in own]), f"{own[0]['chance']:.2f}"]
        encoders = sorted({encoder for encoder, _ in cells}, key=lambda encoder: _place((encoder,), methods))
        for encoder in encoders:
            probe = [
                row["summary"]["balanced_accuracy"]["value"]
                for of_seed in found
                for row in of_seed["results"]
                if row["encoder"] == encoder and row["protocol"] == "linear"
            ]
            shown = [cells.get((encoder, name), ["", ""]) for name in _ROBUSTNESS]
            name = _words((encoder, "mean_token", ""))[0]
            rows.append([_HOW[how], name, *(f"{a} ({b})" for a, b in shown), f"{np.mean(probe):.2f}"])
    head = "In parentheses what vectors that know nothing would have:\n"
    header = ["second scanner", "encoder", *_ROBUSTNESS, f"{options.label}, linear probe"]
    return "\n".join([head, report.table(header, rows)]) if rows else ""


def _outline(options: argparse.Namespace, methods: Methods) -> str:
    """How much of the outline of a region's tissue is read from embeddings, mean and range over seeds."""
    paths = [evaluation_of(options.output, seed) / "outline.json" for seed in options.seeds]
    found = [json.loads(path.read_text()) for path in paths if path.exists()]
    if not found:
        return ""
    rows = []
    for encoder in sorted(found[0], key=lambda encoder: _place((encoder,), methods)):
        values = [[of_seed[encoder][name] for of_seed in found] for name in ("tissue_share", "tissue_center")]
        cells = [f"{np.mean(own):.2f} ({min(own):.2f} to {max(own):.2f})" for own in values]
        rows.append([_words((encoder, "mean_token", ""))[0], *cells])
    head = "R2 of a ridge regression of regions of slides that it was not fitted on; mean and range over seeds:\n"
    return "\n".join([head, report.table(["encoder", "share of tissue", "center of the tissue"], rows)])


def _mean(intervals: list[dict[str, float]]) -> str:
    """Mean over seeds of a metric and of the ends of its interval."""
    value, low, high = (float(np.mean([interval[name] for interval in intervals])) for name in ("value", "low", "high"))
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"


def _time(pieces: Mapping[str, Any]) -> str:
    rows = [
        [name, f"{usage['seconds'] / 60:.1f}", f"{usage['peak_mib']:,.0f}" if usage["peak_mib"] else ""]
        for name, usage in pieces.items()
    ]
    return report.table(["piece", "minutes", "peak MiB"], rows) if rows else ""


def _words(method: Method) -> list[str]:
    encoder, features, protocol = method
    return ["mean token" if encoder == TOKENS and features == "mean_token" else encoder, features, protocol]


def _place(method: Method, methods: Methods) -> tuple[Any, ...]:
    order = [TOKENS, UNTRAINED, *methods.methods]
    return (order.index(method[0]) if method[0] in order else len(order), *method[1:])


def _cell(found: Any, sign: str = "") -> str:
    return f"{found.value:{sign}.3f} [{found.low:{sign}.3f}, {found.high:{sign}.3f}]"
