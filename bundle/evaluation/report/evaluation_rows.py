"""What tables and figures ask of an evaluation: names for readers, which methods to draw, a method's rows."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...pages import digits_of
from ..findings import MAIN_METRIC, Evaluation, Interval, Method

_NAMES = {
    "tokens": "patch tokens",
    "mean_token": "mean token",
    "region_embedding": "region embedding",
    "regions": "bag of regions",
    "slide_vector": "slide vector",
    "mixture": "mixture of prototypes",
    "composition": "composition of prototypes",
    "transport": "transport to prototypes",
    "patch_tokens": "bag of patch tokens",
    "knn": "kNN",
    "mil": "MIL",
    "mil_survival": "MIL",
    "mlp": "MLP",
    "cox": "Cox",
}


class Metric(NamedTuple):
    """``title`` for a column, ``sign`` (1: higher is better, -1: lower, 0: unknown), ``meaning`` in a few words."""

    title: str
    sign: int
    meaning: str


METRICS = {
    "auc": Metric("AUC", 1, "area under the ROC curve; more than two classes: mean over classes, one against the rest"),
    "c_index": Metric("c-index", 1, "Harrell's: share of comparable pairs of patients that the risk orders rightly"),
    "quadratic_kappa": Metric("quadratic kappa", 1, "agreement beyond chance; far misses cost more than near ones"),
    "mae": Metric("MAE", -1, "mean distance between true and predicted grade, in grades"),
    "accuracy": Metric("accuracy", 1, "share of patients whose class is predicted"),
    "balanced_accuracy": Metric("balanced accuracy", 1, "mean over classes of the share that is found"),
    "f1": Metric("F1", 1, "mean over classes of precision and recall in one number"),
    "kappa": Metric("kappa", 1, "Cohen's: agreement beyond chance"),
    "ece": Metric("ECE", -1, "expected calibration error: mean gap between probability and share of hits"),
    "brier": Metric("Brier", -1, "squared distance between probabilities and truth"),
}


def metric(name: str) -> Metric:
    """What is known of a metric; its bare name where nothing is."""
    return METRICS.get(name, Metric(name.replace("_", " "), 0, ""))


def metric_names(evaluation: Evaluation) -> list[str]:
    """Every metric of any method: the task's main one first, then those known here in their order, then the others."""
    found = list(dict.fromkeys(name for result in evaluation.results for name in result.summary))
    order = [MAIN_METRIC.get(evaluation.task, ""), *METRICS]
    return sorted(found, key=lambda name: order.index(name) if name in order else len(order))


def readable(name: str) -> str:
    """A name of the records as a reader would write it; a user's own name as it is."""
    return _NAMES.get(name, name)


def method_name(method: Method) -> str:
    """``SLPD, region embedding, kNN``."""
    return ", ".join(map(readable, method[:3]))


class Pooled(NamedTuple):
    """All predictions of a method: rows of the evaluation [m], index of the split of each [m], scores [m, C or 1]."""

    rows: NDArray[np.int64]
    split: NDArray[np.int64]
    scores: NDArray[np.float64]


def drawn_methods(evaluation: Evaluation) -> list[Method]:
    """The methods with predictions that learned from the largest share of the patients, in the order of the results."""
    known = list(dict.fromkeys([r.method for r in evaluation.results] + [p.method for p in evaluation.predictions]))
    predicted = {p.method for p in evaluation.predictions if len(p.rows)}
    methods = [method for method in known if method in predicted]
    largest = max((method.train_fraction for method in methods), default=1.0)
    return [method for method in methods if method.train_fraction == largest]


def pooled(evaluation: Evaluation, method: Method) -> Pooled:
    """A method's predictions of all splits, one below the other."""
    found = [p for p in evaluation.predictions if p.method == method and len(p.rows)]
    split = np.repeat(np.arange(len(found)), [len(p.rows) for p in found])
    return Pooled(np.concatenate([p.rows for p in found]), split, np.concatenate([p.scores for p in found]))


def per_test_set(evaluation: Evaluation, method: Method) -> list[tuple[NDArray[Any], NDArray[np.float64]]]:
    """Targets [n] and scores [n, C] of each split of a method."""
    found = [p for p in evaluation.predictions if p.method == method]
    return [(evaluation.targets[p.rows], p.scores) for p in found if len(p.rows)]


def best_method(evaluation: Evaluation) -> Method | None:
    """The drawn method with the highest main metric (the first one where none has any), None without predictions."""
    methods = drawn_methods(evaluation)
    name = next(iter(metric_names(evaluation)), "")
    found = {method: interval_of(evaluation, method, name) for method in methods}
    return max(found, key=lambda method: -math.inf if (i := found[method]) is None else i.value, default=None)


def summary_text(evaluation: Evaluation, method: Method, name: str) -> str:
    """``AUC 0.87``, as the table has it; empty where the method has no such metric."""
    interval = interval_of(evaluation, method, name)
    return "" if interval is None else f"{metric(name).title} {interval.value:.{digits_of(interval)}f}"


def interval_of(evaluation: Evaluation, method: Method, name: str) -> Interval | None:
    """A method's metric with its uncertainty; None where the method has none."""
    found = (result.summary.get(name) for result in evaluation.results if result.method == method)
    interval = next(found, None)
    return interval if interval is not None and math.isfinite(interval.value) else None


def share_text(method: Method) -> str:
    """``25 %``: of the training patients; the space does not break."""
    return f"{100 * method.train_fraction:g}\N{NO-BREAK SPACE}%"
