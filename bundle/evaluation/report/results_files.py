"""What a slide-level evaluation found, for other programs: tables, JSON, TensorBoard's HParams."""

from __future__ import annotations

import json
import logging
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.tensorboard import SummaryWriter

from ...pages import csv_text, plain, write_results
from ..findings import Evaluation, Method

_log = logging.getLogger(__name__)
_METHOD = list(Method._fields)


class ResultsFiles:
    """Call with an :class:`Evaluation`: writes ``results.csv``, ``robustness.csv``, ``results.json`` and
    ``predictions.csv``.

    ``results.csv`` has a row a method and metric, ``predictions.csv`` one a method and patient, ``robustness.csv``
    one an encoder and metric (the robustness index: and number of neighbors), ``results.json`` everything but the
    vectors of slides. Under ``hparams`` TensorBoard finds every method with its metrics. Where patients stand on both
    sides of a split, every table of metrics has a column with their number, and each prediction says whether its
    patient is one of them there.

    Args:
        output_dir: folder of the files; made where it is missing.
    """

    def __init__(self, output_dir: str | Path) -> None:
        self.output_dir = Path(output_dir)

    def __call__(self, evaluation: Evaluation) -> None:
        """Write the files; readers see the old ones or the new ones, nothing between.

        Raises:
            BundleError: they cannot be written.
        """
        texts = {
            "results.csv": _results_table(evaluation),
            "robustness.csv": _robustness_table(evaluation),
            "predictions.csv": _predictions_table(evaluation),
            "results.json": json.dumps(as_json(evaluation), indent=1, allow_nan=False) + "\n",
        }
        write_results(self.output_dir, texts)
        self._write_hparams(evaluation)

    def _write_hparams(self, evaluation: Evaluation) -> None:
        """One run a method; the methods of an earlier evaluation are removed, which would stand beside them."""
        folder = self.output_dir / "hparams"
        try:
            shutil.rmtree(folder, ignore_errors=True)
            for number, result in enumerate(evaluation.results):
                values = {f"metric/{name}": i.value for name, i in result.summary.items() if math.isfinite(i.value)}
                with SummaryWriter(str(folder)) as writer:
                    writer.add_hparams(
                        result.method._asdict(), values, run_name=f"{number:03d}_{_file_name(result.method)}"
                    )
            for stray in folder.glob("events.out.tfevents*"):  # add_hparams writes to folders of its own
                stray.unlink()
        except OSError as error:
            _log.warning("TensorBoard's HParams are not written to %s: %s", folder, error)


def as_json(evaluation: Evaluation) -> dict[str, Any]:
    """An evaluation as JSON holds it: lists, numbers, words; None where a number is not defined."""
    patients = zip(evaluation.units, evaluation.slides, evaluation.sites, evaluation.targets.tolist(), strict=True)
    found = {
        "task": evaluation.task,
        "label": evaluation.label,
        "classes": evaluation.classes,
        "patients": [{"patient": u, "slides": s, "site": site, "target": t} for u, s, site, t in patients],
        "split_kind": evaluation.split_kind,
        "splits": [{"name": s.name, "train": s.train, "test": s.test} for s in evaluation.splits],
        "results": [
            {**r.method._asdict(), "per_split": r.per_split, "summary": r.summary, "per_seed": r.per_seed}
            for r in evaluation.results
        ],
        "comparisons": evaluation.comparisons,
        "robustness": [item._asdict() for item in evaluation.robustness],
        "warnings": evaluation.warnings,
        "pretraining_overlap": evaluation.pretraining_overlap,
        "settings": evaluation.settings,
    }
    if evaluation.unit != "patient" or evaluation.patient_overlap:
        found |= {
            "unit": evaluation.unit,
            "patient_of": evaluation.patients,
            "patient_overlap": evaluation.patient_overlap,
        }
    return plain(found)


def _results_table(evaluation: Evaluation) -> str:
    rows = [
        [*result.method, name, *interval] for result in evaluation.results for name, interval in result.summary.items()
    ]
    return _csv([*_METHOD, "metric", "value", "low", "high", "sd", "interval", "n"], rows, evaluation)


def _robustness_table(evaluation: Evaluation) -> str:
    rows = [
        [item.encoder, item.features, item.metric, k or "", *interval, item.chance]
        for item in evaluation.robustness
        for k, interval in (item.curve or {0: item.interval}).items()
    ]
    columns = ["encoder", "features", "metric", "k", "value", "low", "high", "sd", "interval", "n", "chance"]
    return _csv(columns, rows, evaluation)


def _csv(columns: list[str], rows: list[list[Any]], evaluation: Evaluation) -> str:
    """A table of metrics; where patients stand on both sides of a split every row says how many."""
    if not evaluation.patient_overlap:
        return csv_text(columns, rows)
    n = len(evaluation.on_both_sides)
    return csv_text([*columns, "patients_on_both_sides"], [[*row, n] for row in rows])


def _predictions_table(evaluation: Evaluation) -> str:
    """A row a prediction: who, what is true, what was said."""
    is_survival = evaluation.task == "survival"
    truth = ["time", "event", "risk"] if is_survival else ["label", "predicted"]
    columns = [*_METHOD, "split", "patient", "slides", *truth]
    columns += [] if is_survival else [f"probability of {name}" for name in evaluation.classes]
    columns += ["learned_from_the_patient"] if evaluation.patient_overlap else []
    rows = []
    for predicted in evaluation.predictions:
        both = set(evaluation.patient_overlap.get(predicted.split, []))
        for row, scores in zip(predicted.rows.tolist(), predicted.scores.tolist(), strict=True):
            who = [predicted.split, evaluation.units[row], " ".join(evaluation.slides[row])]
            target = evaluation.targets[row]
            if is_survival:
                said = [float(target[0]), int(target[1]), scores[0]]
            else:
                said = [evaluation.classes[target], evaluation.classes[int(np.argmax(scores))], *scores]
            said += [int(evaluation.patients[row] in both)] if evaluation.patient_overlap else []
            rows.append([*predicted.method, *who, *said])
    return csv_text(columns, rows)


def _file_name(method: Method) -> str:
    words = [*method[:3], f"{method.train_fraction:g}"]
    return "_".join("".join(c if c.isalnum() or c in ".-" else "-" for c in word) for word in words)
