"""Predictions to metrics: each split's, intervals, and comparisons between encoders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from .features.pooled_features import KIND_OF, POOLED
from .findings import MAIN_METRIC, Comparison, Evaluation, Interval, Method, Predictions, Result
from .metrics.classification import ClassificationMetrics
from .metrics.intervals import bootstrap, compare_bootstrap, over_folds
from .metrics.over_seeds import OverSeeds
from .metrics.survival import SurvivalMetrics
from .protocols.inputs import Vectors

MAX_PAIRS = 10  # of encoders; more tests than that are a search for the best p-value
_RANGE = {"kappa": (-1.0, 1.0), "quadratic_kappa": (-1.0, 1.0), "mae": (0.0, np.inf)}  # all others: 0 to 1


def metrics_of(task: str) -> OverSeeds:
    """The metrics of a task, of scores [seeds, n, C]."""
    return OverSeeds(SurvivalMetrics() if task == "survival" else ClassificationMetrics(is_ordinal=task == "ordinal"))


def results(evaluation: Evaluation, n_bootstrap: int, seed: int) -> list[Result]:
    """Metrics of each method in each split, with 95 % intervals: over folds, or over resamples of a fixed test set.

    Args:
        evaluation: has targets, splits and predictions.
        n_bootstrap: resamples.
        seed: of the resamples.
    """
    metrics, found = metrics_of(evaluation.task), []
    for method, predicted in by_method(evaluation).items():
        each = [metrics(evaluation.targets[p.rows], p.of_seeds) for p in predicted]
        per_split = {name: [float(values[name][0]) for values in each] for name in each[0]}
        if evaluation.split_kind == "fixed":
            tested, scores = evaluation.targets[predicted[0].rows], predicted[0].of_seeds
            summary = bootstrap(metrics, tested, scores, n_bootstrap, seed)
        else:
            n_train, n_test = _sizes(predicted)
            summary = {name: over_folds(values, n_train, n_test).interval for name, values in per_split.items()}
            for name in metrics.biased:
                summary[name] = summary[name]._replace(low=np.nan, high=np.nan)
            summary = {
                name: _within(interval, *_range(name, len(evaluation.classes))) for name, interval in summary.items()
            }
        found.append(Result(method, per_split, summary, _per_seed(evaluation, predicted)))
    return found


def comparisons(evaluation: Evaluation, n_bootstrap: int, seed: int) -> list[Comparison]:
    """The main metric of every two encoders under the same protocol, later minus earlier, on the same patients.

    Compared are methods that learned from the largest share of the patients; one vector stands against one vector, a
    bag against a bag, prototypes against prototypes. Vectors that are pooled in one way stand against each other and
    against the first encoder's own vector. More than ten pairs of encoders: those with the first.

    Args:
        evaluation: has predictions and results.
        n_bootstrap: resamples.
        seed: of the resamples.
    """
    predictions = by_method(evaluation)
    largest = max((method.train_fraction for method in predictions), default=1.0)
    groups: dict[tuple[str, str], list[Method]] = {}
    for method in predictions:
        if method.train_fraction == largest:
            groups.setdefault((method.protocol, _company(method.features)), []).append(method)
    found = []
    for (protocol, company), methods in groups.items():
        if company in POOLED:
            methods = [*groups.get((protocol, Vectors.kind), [])[:1], *methods]
        pairs = list(combinations(methods, 2))
        for earlier, later in pairs if len(pairs) <= MAX_PAIRS else [(methods[0], method) for method in methods[1:]]:
            found.append(_compare(evaluation, predictions, (later, earlier), n_bootstrap, seed))
    return found


def compare_methods(evaluation: Evaluation, a: Method, b: Method, n_bootstrap: int = 2000, seed: int = 0) -> Comparison:
    """The main metric of any two methods, a minus b, on the same patients: as :func:`comparisons`, of other pairs.

    Args:
        evaluation: has predictions of both.
        a, b: with predictions on the same splits; features and protocol may differ.
        n_bootstrap: resamples, of a fixed test set.
        seed: of the resamples.
    """
    return _compare(evaluation, by_method(evaluation), (a, b), n_bootstrap, seed)


def _company(features: str) -> str:
    """What features are compared within."""
    return features if features in POOLED else KIND_OF.get(features, features)


def by_method(evaluation: Evaluation) -> dict[Method, list[Predictions]]:
    """Predictions of each method, in the order of the splits."""
    found: dict[Method, list[Predictions]] = {}
    for predicted in evaluation.predictions:
        found.setdefault(predicted.method, []).append(predicted)
    return found


def _per_seed(evaluation: Evaluation, predicted: Sequence[Predictions]) -> dict[str, list[float]]:
    """Each metric with each seed, a mean over splits; none where there is one seed."""
    if not predicted[0].repeats:
        return {}
    metrics = metrics_of(evaluation.task).metrics
    found: dict[str, list[float]] = {}
    for i in range(1 + len(predicted[0].repeats)):
        each = [metrics(evaluation.targets[p.rows], p.of_seeds[i]) for p in predicted]
        for name in each[0]:
            values = np.array([float(of_split[name][0]) for of_split in each])
            known = values[np.isfinite(values)]
            found.setdefault(name, []).append(float(known.mean()) if len(known) else np.nan)
    return found


def _compare(
    evaluation: Evaluation,
    predictions: Mapping[Method, list[Predictions]],
    methods: tuple[Method, Method],
    n_bootstrap: int,
    seed: int,
) -> Comparison:
    a, b = (predictions[method] for method in methods)
    metrics, name = metrics_of(evaluation.task), MAIN_METRIC[evaluation.task]
    if evaluation.split_kind == "fixed":
        targets = evaluation.targets[a[0].rows]
        found = compare_bootstrap(metrics, targets, a[0].of_seeds, b[0].of_seeds, n_bootstrap, seed)[name]
    else:
        of_a, of_b = (
            [float(metrics(evaluation.targets[p.rows], p.of_seeds)[name][0]) for p in method] for method in (a, b)
        )
        found = over_folds(np.subtract(of_a, of_b), *_sizes(a))
        low, high = _range(name, len(evaluation.classes))
        found = found._replace(interval=_within(found.interval, low - high, high - low))
    return Comparison(*methods, name, *found)


def _range(name: str, n_classes: int) -> tuple[float, float]:
    """The least and the largest value that a metric can have."""
    return _RANGE.get(name, (0.0, 2.0 if name == "brier" and n_classes > 2 else 1.0))


def _within(interval: Interval, low: float, high: float) -> Interval:
    """A t interval without values that the metric cannot have, which does not change how often it holds the truth."""
    return interval._replace(low=float(np.clip(interval.low, low, high)), high=float(np.clip(interval.high, low, high)))


def _sizes(predicted: Sequence[Predictions]) -> tuple[list[int], list[int]]:
    return [p.n_train for p in predicted], [len(p.rows) for p in predicted]
