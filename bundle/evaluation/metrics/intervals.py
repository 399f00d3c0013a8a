"""How sure a metric is: 95 % intervals over folds, and over resamples of the patients of one test set.

Both hold chance level about 95 times in 100 where there is nothing to learn; the tests count it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri
from scipy.stats import t as student

from ..findings import Interval
from .classification import ClassificationMetrics
from .over_seeds import OverSeeds
from .survival import SurvivalMetrics

Floats = NDArray[np.float64]
Metrics = ClassificationMetrics | SurvivalMetrics | OverSeeds
_TAIL = 0.025
_CELLS = 4_000_000  # rows x samples that are weighed at a time
_EQUAL = 1e-12  # metrics nearer than this differ by rounding only


class Estimate(NamedTuple):
    """An interval, and the two-sided p-value of the metric being 0 that belongs to it."""

    interval: Interval
    p_value: float


def over_folds(values: ArrayLike, n_train: ArrayLike, n_test: ArrayLike) -> Estimate:
    """Mean over folds with a t interval whose variance allows for folds that share training rows.

    Folds without the metric (NaN: one class only) are left out. Bounds are NaN with fewer than two folds, or where all
    folds are equal: they say nothing of how far the next one would be; p is 1 where they are all 0, else NaN. Of the
    differences of two methods on the same folds it is the corrected resampled t-test.

    Args:
        values: the metric in each fold, [k].
        n_train: rows learned from: one number, or one a fold.
        n_test: rows tested on, likewise.

    Source: Nadeau and Bengio, Machine Learning 52, 2003: variance of the mean = sd^2 (1 / k + n_test / n_train).
    """
    each = np.atleast_1d(np.asarray(values, np.float64))
    share = np.broadcast_to(np.asarray(n_test, np.float64) / np.asarray(n_train, np.float64), each.shape)
    share, each = share[np.isfinite(each)], each[np.isfinite(each)]
    n_folds = len(each)
    if n_folds < 2:
        mean = float(each.mean()) if n_folds else math.nan
        return Estimate(Interval(mean, math.nan, math.nan, math.nan, "nadeau-bengio", n_folds), math.nan)
    mean, sd = float(each.mean()), float(each.std(ddof=1))
    if sd <= _EQUAL:
        p_value = 1.0 if abs(mean) <= _EQUAL else math.nan
        return Estimate(Interval(mean, math.nan, math.nan, 0.0, "nadeau-bengio", n_folds), p_value)
    error = sd * math.sqrt(1 / n_folds + float(share.mean()))
    half = float(student.ppf(1 - _TAIL, n_folds - 1)) * error
    p_value = 2 * float(student.sf(abs(mean) / error, n_folds - 1))
    return Estimate(Interval(mean, mean - half, mean + half, sd, "nadeau-bengio", n_folds), p_value)


def bootstrap(
    metrics: Metrics, targets: ArrayLike, scores: ArrayLike, n_samples: int = 2000, seed: int = 0
) -> dict[str, Interval]:
    """Every metric of a test set with a 95 % interval over resamples of its rows, which are patients.

    Bias-corrected and accelerated, since plain percentiles are too narrow on small test sets. Samples without the
    metric (one class only) are left out; ``Interval.n`` counts those used. Where every trial went well (or badly) no
    resample differs, and the bound is the exact binomial one: the accuracy, or AUC, at which that would happen by luck
    in 2.5 %. Bounds are NaN where a class has a single row, where the metric is missing from half of the samples, and
    for the calibration error, which is too high on few rows and higher still in resamples.

    Args:
        metrics: `ClassificationMetrics` or `SurvivalMetrics`, or one of them `OverSeeds`.
        targets: [n] or [n, 2].
        scores: [n, C]; over seeds [seeds, n, C].
        n_samples: resamples.
        seed: of the resamples.

    Source: Efron, JASA 82, 1987 (BCa); Clopper and Pearson, Biometrika 26, 1934.
    """
    truth = np.asarray(targets)
    estimates = resampled(lambda weights: metrics(truth, scores, weights), len(truth), n_samples, seed)
    intervals = {name: estimate.interval for name, estimate in estimates.items()}
    for name, n_trials in metrics.n_trials(truth).items():
        if n_trials > 0:
            intervals[name] = _exact_at_the_ends(intervals[name], n_trials)
    return {n: i._replace(low=math.nan, high=math.nan) if n in metrics.biased else i for n, i in intervals.items()}


def compare_bootstrap(
    metrics: Metrics, targets: ArrayLike, scores_a: ArrayLike, scores_b: ArrayLike, n_samples: int = 2000, seed: int = 0
) -> dict[str, Estimate]:
    """Every metric's a - b on one test set, over resamples of its rows (patients) that both methods share.

    The p-value is that of the interval: it is 0.05 where the interval ends at 0.

    Args:
        metrics: `ClassificationMetrics` or `SurvivalMetrics`, or one of them `OverSeeds`.
        targets: [n] or [n, 2].
        scores_a: as of :func:`bootstrap`.
        scores_b: likewise, of the same rows.
        n_samples: resamples.
        seed: of the resamples.

    Source: Efron, JASA 82, 1987 (BCa).
    """

    def difference(weights: Floats) -> dict[str, Floats]:
        of_b = metrics(targets, scores_b, weights)
        return {name: value - of_b[name] for name, value in metrics(targets, scores_a, weights).items()}

    return resampled(difference, len(np.asarray(targets)), n_samples, seed)


def share_intervals(hits: ArrayLike, trials: ArrayLike, n_samples: int = 2000, seed: int = 0) -> list[Interval]:
    """Shares of hits among trials, over resamples of the rows (patients) that these belong to.

    Where all trials hit (or none), the bound is the exact binomial one with a trial a row, since those of a patient may
    be alike; see :func:`bootstrap`.

    Args:
        hits: of each row, [n, m]: m shares on the same rows.
        trials: likewise.
        n_samples: resamples.
        seed: of the resamples.
    """
    part, whole = np.asarray(hits, np.float64), np.asarray(trials, np.float64)

    def shares(weights: Floats) -> dict[str, Floats]:
        with np.errstate(invalid="ignore"):
            found = (weights @ part) / (weights @ whole)
        return {str(column): found[:, column] for column in range(part.shape[1])}

    found = [estimate.interval for estimate in resampled(shares, len(part), n_samples, seed).values()]
    return [_exact_at_the_ends(i, n) if n else i for i, n in zip(found, (whole > 0).sum(0).tolist(), strict=True)]


def resampled(
    metrics_of: Callable[[Floats], dict[str, Floats]], n_rows: int, n_samples: int, seed: int
) -> dict[str, Estimate]:
    """BCa intervals of metrics of weighted rows.

    Args:
        metrics_of: from weights [S, n] to each metric in each sample, [S].
        n_rows: n.
        n_samples: resamples.
        seed: of the resamples.
    """
    rng = np.random.default_rng(seed)
    step = max(1, _CELLS // max(n_rows, 1))
    drawn = [metrics_of(_draw(rng, n_rows, min(step, n_samples - i))) for i in range(0, n_samples, step)]
    rows = range(0, n_rows if n_rows > 1 else 0, step)
    left_out = [metrics_of(1.0 - np.eye(min(step, n_rows - i), n_rows, k=i)) for i in rows]
    found = {}
    for name, value in metrics_of(np.ones((1, n_rows))).items():
        samples = np.concatenate([part[name] for part in drawn])
        jackknife = np.concatenate([part[name] for part in left_out]) if left_out else np.full(1, np.nan)
        found[name] = _bca(float(value[0]), samples, jackknife)
    return found


def _draw(rng: np.random.Generator, n_rows: int, n_samples: int) -> Floats:
    """How often each row stands in each of some samples with replacement, [S, n]."""
    rows = rng.integers(0, max(n_rows, 1), (n_samples, n_rows)) + np.arange(n_samples)[:, None] * n_rows
    return np.bincount(rows.ravel(), minlength=n_samples * n_rows).reshape(n_samples, n_rows).astype(np.float64)


def _bca(value: float, samples: Floats, jackknife: Floats) -> Estimate:
    """Bounds and p-value from resamples [S] and leave-one-out metrics [n]."""
    used = samples[np.isfinite(samples)]
    sd = float(used.std(ddof=1)) if len(used) > 1 else math.nan
    is_flat = sd <= _EQUAL
    if not math.isfinite(value) or 2 * len(used) < len(samples) or is_flat or not np.isfinite(jackknife).all():
        p_value = 1.0 if is_flat and abs(value) < _EQUAL else math.nan
        return Estimate(Interval(value, math.nan, math.nan, sd, "bootstrap", len(used)), p_value)
    bias = _share_below(used, value)
    pull = jackknife.mean() - jackknife
    power = float((pull**2).sum()) ** 1.5
    acceleration = float((pull**3).sum()) / (6 * power) if power > 0 else 0.0
    # beyond this bound the correction turns around; only samples of a handful of rows come near
    normal = np.array([-1.0, 1.0]) * ndtri(1 - _TAIL) + bias
    levels = ndtr(bias + normal / np.maximum(1 - acceleration * normal, 0.1))
    low, high = np.quantile(used, levels)
    # the p-value is the level at which the interval would end at 0
    at_zero = _share_below(used, 0.0) - bias
    tail = float(ndtr(at_zero / max(1 + acceleration * at_zero, 0.1) - bias))
    p_value = min(1.0, 2 * min(tail, 1 - tail))
    return Estimate(Interval(value, float(low), float(high), sd, "bootstrap", len(used)), p_value)


def _share_below(samples: Floats, value: float) -> float:
    """Normal quantile of the share of samples below a value; equal ones count one half, the ends stay finite."""
    below = (samples < value - _EQUAL).sum() + 0.5 * (np.abs(samples - value) <= _EQUAL).sum()
    return float(ndtri((below + 0.5) / (len(samples) + 1)))


def _exact_at_the_ends(interval: Interval, n_trials: int) -> Interval:
    bound = _TAIL ** (1 / n_trials)
    if interval.value >= 1 - _EQUAL:
        return interval._replace(low=bound, high=1.0)
    if interval.value <= _EQUAL:
        return interval._replace(low=0.0, high=1 - bound)
    return interval
