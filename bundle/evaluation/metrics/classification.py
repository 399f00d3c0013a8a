"""Metrics of a classifier or a grader, of one sample of rows or of thousands of resamples at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
_N_BINS = 15


class ClassificationMetrics:
    """Accuracy, balanced accuracy, AUC, F1, Cohen's kappa, calibration error and Brier score of predicted classes.

    Resamples are weights of the rows, so that one pass over arrays gives the metrics of all of them. The class
    predicted is the one with the highest score. Where a metric is not defined (AUC of one class) it is NaN.

    Args:
        is_ordinal: classes are grades in ascending order: also quadratic kappa, and the mean absolute error in grades.
    """

    biased = ("ece",)

    def __init__(self, is_ordinal: bool = False) -> None:
        self.is_ordinal = is_ordinal

    def __call__(self, targets: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> dict[str, Floats]:
        """Each metric in each sample, [S].

        Args:
            targets: class index [n].
            scores: probabilities [n, C] that sum to 1. Two classes: AUC of column 1; more: mean over the classes
                present, one against the rest.
            weights: how often each row stands in each sample, [S, n]; None: one sample, every row once.

        Raises:
            ValueError: shapes do not fit, or a target is no column of the scores.
        """
        targets, scores = _checked(targets, scores)
        n_rows, n_classes = scores.shape
        weights = np.ones((1, n_rows)) if weights is None else np.asarray(weights, np.float64)
        if n_rows == 0 or not np.isfinite(scores).all():
            return {name: np.full(len(weights), np.nan) for name in self.names}
        predicted = scores.argmax(1)
        cells = weights @ np.eye(n_classes * n_classes)[targets * n_classes + predicted]
        confusion = cells.reshape(-1, n_classes, n_classes)
        metrics = {
            "accuracy": np.trace(confusion, axis1=1, axis2=2) / weights.sum(1),
            "balanced_accuracy": _balanced_accuracy(confusion),
            "auc": _mean_auc(targets, scores, weights),
            "f1": _macro_f1(confusion),
            "kappa": _kappa(confusion, 1.0 - np.eye(n_classes)),
            "ece": calibration_error(scores.max(1), predicted == targets, weights),
            "brier": _brier(targets, scores, weights),
        }
        if self.is_ordinal:
            distance = np.abs(np.subtract.outer(np.arange(n_classes), np.arange(n_classes))).astype(np.float64)
            metrics["quadratic_kappa"] = _kappa(confusion, distance**2)
            metrics["mae"] = (confusion * distance).sum((1, 2)) / weights.sum(1)
        return metrics

    @property
    def names(self) -> list[str]:
        """Names of the metrics."""
        names = ["accuracy", "balanced_accuracy", "auc", "f1", "kappa", "ece", "brier"]
        return [*names, "quadratic_kappa", "mae"] if self.is_ordinal else names

    def n_trials(self, targets: ArrayLike) -> dict[str, int]:
        """Independent trials that have all gone well where a metric is 1, and all badly where it is 0.

        A row is a trial of the accuracy. A row of a class set beside one of another class is a trial of the AUC, and
        the smallest class has as many such pairs that share no row. Bounds of a perfect score rest on them.
        """
        counts = np.unique(np.asarray(targets), return_counts=True)[1]
        return {"accuracy": int(counts.sum()), "auc": int(counts.min()) if len(counts) > 1 else 0}


def _checked(targets: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.int64], Floats]:
    classes, scores = np.asarray(targets, np.int64), np.asarray(scores, np.float64)
    if scores.ndim != 2 or classes.shape != scores.shape[:1]:
        raise ValueError(f"targets [n] and scores [n, C] are needed: got {classes.shape} and {scores.shape}.")
    if len(classes) and not 0 <= classes.min() <= classes.max() < scores.shape[1]:
        raise ValueError(f"targets from 0 to {scores.shape[1] - 1} are needed: got {classes.min()} to {classes.max()}.")
    return classes, scores


def _ratio(above: Floats, below: Floats) -> Floats:
    """Quotient, NaN where there is nothing below."""
    return np.divide(above, below, out=np.full(np.broadcast(above, below).shape, np.nan), where=below != 0)


def _mean_over_defined(values: Floats) -> Floats:
    """Mean over the last axis without NaNs; NaN where there is nothing else."""
    known = np.isfinite(values)
    return _ratio(np.where(known, values, 0.0).sum(-1), known.sum(-1).astype(np.float64))


def _balanced_accuracy(confusion: Floats) -> Floats:
    return _mean_over_defined(_ratio(np.diagonal(confusion, axis1=1, axis2=2), confusion.sum(2)))


def _macro_f1(confusion: Floats) -> Floats:
    """Mean over the classes that are either there or predicted."""
    hits = np.diagonal(confusion, axis1=1, axis2=2)
    return _mean_over_defined(_ratio(2 * hits, confusion.sum(1) + confusion.sum(2)))


def _kappa(confusion: Floats, penalty: Floats) -> Floats:
    """Cohen's kappa, [S], with a penalty [C, C] for each confusion."""
    expected = confusion.sum(2)[:, :, None] * confusion.sum(1)[:, None, :] / confusion.sum((1, 2))[:, None, None]
    return 1.0 - _ratio((confusion * penalty).sum((1, 2)), (expected * penalty).sum((1, 2)))


def _mean_auc(targets: NDArray[np.int64], scores: Floats, weights: Floats) -> Floats:
    """Mean AUC over the classes there are; a sample that has lost one of them has none."""
    present = np.unique(targets)
    if len(present) < 2:
        return np.full(len(weights), np.nan)
    columns = [1] if scores.shape[1] == 2 else present.tolist()
    return np.mean([_auc(targets == c, scores[:, c], weights) for c in columns], axis=0)


def _auc(positive: NDArray[np.bool_], scores: Floats, weights: Floats) -> Floats:
    """Share of (positive, negative) pairs in the right order, equal scores one half, [S]; one sort for all samples."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.append(True, np.diff(scores[order]) > 0))
    weights, positive = weights[:, order], positive[order]
    above = np.add.reduceat(weights * positive, starts, axis=1)
    below = np.add.reduceat(weights * ~positive, starts, axis=1)
    passed = np.cumsum(below, axis=1) - below
    return _ratio((above * (passed + 0.5 * below)).sum(1), above.sum(1) * below.sum(1))


def calibration_error(confidence: Floats, correct: NDArray[np.bool_], weights: Floats, n_bins: int = _N_BINS) -> Floats:
    """Expected calibration error in each sample, [S]: mean gap between confidence and share of hits.

    Args:
        confidence: probability of the predicted class, [n] in [0, 1].
        correct: bool [n].
        weights: how often each row stands in each sample, [S, n].
        n_bins: bins of equal width, each open below and closed above (the first holds 0 too).

    Source: Naeini et al., AAAI 2015.
    """
    index = np.clip(np.ceil(confidence * n_bins).astype(int) - 1, 0, n_bins - 1)
    gaps = weights @ (np.eye(n_bins)[index] * (correct - confidence)[:, None])
    return np.abs(gaps).sum(1) / weights.sum(1)


def _brier(targets: NDArray[Any], scores: Floats, weights: Floats) -> Floats:
    """Squared distance from the truth: of class 1's probability with two classes, summed over classes with more."""
    squares = (scores - np.eye(scores.shape[1])[targets]) ** 2
    each = squares[:, 1] if scores.shape[1] == 2 else squares.sum(1)
    return weights @ each / weights.sum(1)
