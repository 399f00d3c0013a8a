"""Metrics of an evaluation's predictions with intervals over patients, and differences on the same patients.

Every patient is tested once by folds; the metrics are those of all predictions together, mean over seeds of folds and
of training. A resample draws patients within each class, the same ones for all seeds and methods.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...pins.records import read_rows

Floats = NDArray[np.float64]
METHOD = ("encoder", "features", "protocol")
_POWER = 2.8  # standard errors between no difference and one that is found in 80 % of cohorts, at 5 %


class Predicted(NamedTuple):
    """One method's predictions of one seed, patients in one order: class index [n], probabilities [n, C]."""

    truth: NDArray[np.int64]
    scores: Floats


class Score(NamedTuple):
    """A metric and its 95 % interval over patients."""

    value: float
    low: float
    high: float


def read_predictions(path: Path) -> dict[tuple[str, ...], Predicted]:
    """Predictions of every method that learned from all training patients, from ``predictions.csv``."""
    rows: dict[tuple[str, ...], list[dict[str, str]]] = defaultdict(list)
    for row in read_rows(path):
        if float(row["train_fraction"]) == 1:
            rows[tuple(row[name] for name in METHOD)].append(row)
    columns = [name for name in next(iter(rows.values()))[0] if name.startswith("probability of ")]
    number = {name.removeprefix("probability of "): i for i, name in enumerate(columns)}
    found = {}
    for method, own in rows.items():
        own = sorted(own, key=lambda row: row["patient"])
        truth = np.array([number[row["label"]] for row in own], np.int64)
        found[method] = Predicted(truth, np.array([[float(row[name]) for name in columns] for row in own]))
    return found


def resampled(truth: NDArray[np.int64], n: int, seed: int) -> Floats:
    """How often each patient is drawn, within its class, [1 + n, patients]; in the first row once."""
    draws = np.random.default_rng(seed)
    counts = np.ones((1 + n, len(truth)))
    for name in np.unique(truth):
        own = np.flatnonzero(truth == name)
        counts[1:, own] = draws.multinomial(len(own), np.full(len(own), 1 / len(own)), n)
    return counts


def balanced_accuracy(predicted: Predicted, counts: Floats) -> Floats:
    """Mean over classes of the share that is right, of each resample."""
    right = predicted.scores.argmax(1) == predicted.truth
    shares = [
        (counts[:, own] * right[own]).sum(1) / counts[:, own].sum(1)
        for own in (predicted.truth == name for name in np.unique(predicted.truth))
    ]
    return np.mean(shares, axis=0)


def auc(predicted: Predicted, counts: Floats) -> Floats:
    """Mean over classes of the share of pairs, one of the class and one of another, that are in order."""
    areas = []
    for name in np.unique(predicted.truth):
        own, column = predicted.truth == name, predicted.scores[:, name]
        order = (np.sign(column[own][:, None] - column[~own][None]) + 1) / 2
        inside, outside = counts[:, own], counts[:, ~own]
        areas.append(((inside @ order) * outside).sum(1) / (inside.sum(1) * outside.sum(1)))
    return np.mean(areas, axis=0)


def score(values: Floats) -> Score:
    """Of a metric [1 + n], its own value first."""
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return Score(float(values[0]), float(low), float(high))


def smallest_difference(differences: Floats) -> float:
    """The least difference of two methods that so many patients would show with a power of 80 %, from [1 + n]."""
    return _POWER * float(differences[1:].std(ddof=1))
