"""Points of the curves that an evaluation is shown by: ROC, survival; all numpy, nothing drawn."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import CensoredData, chi2, ecdf
from sklearn.metrics import roc_curve

Floats = NDArray[np.float64]


class RocBand(NamedTuple):
    """Mean ROC curve: ``fpr`` and ``tpr`` [G], ``sd`` [G] over its ``n_curves`` curves (0 for a single one)."""

    fpr: Floats
    tpr: Floats
    sd: Floats
    n_curves: int


class SurvivalCurve(NamedTuple):
    """A step function: from ``time`` [S] on, ``survival`` [S] with its 95 % bounds ``low`` and ``high`` [S]."""

    time: Floats
    survival: Floats
    low: Floats
    high: Floats


def mean_roc(tests: Sequence[tuple[NDArray[Any], Floats]], n_points: int = 101) -> RocBand | None:
    """Vertical mean of the ROC curves of several test sets.

    With two classes a test set gives the curve of class 1; with more the mean of its one-vs-rest curves.

    Args:
        tests: class index [n] and scores [n, C] of each test set.
        n_points: false positive rates at which the curves are read.

    Returns:
        None where no test set holds two classes.
    """
    grid = np.linspace(0, 1, n_points)
    curves = []
    for targets, scores in tests:
        present = np.unique(targets)
        if len(present) < 2:
            continue
        classes = [1] if scores.shape[1] == 2 else present.tolist()
        points = [roc_curve(targets == c, scores[:, c], drop_intermediate=False) for c in classes]
        curves.append(np.mean([np.interp(grid, fpr, tpr) for fpr, tpr, _ in points], axis=0))
    if not curves:
        return None
    stacked = np.stack(curves)
    sd = stacked.std(0, ddof=1) if len(curves) > 1 else np.zeros_like(grid)
    # every curve starts in the origin, even one that rises at once
    return RocBand(np.append(0.0, grid), np.append(0.0, stacked.mean(0)), np.append(0.0, sd), len(curves))


def survival_curve(time: ArrayLike, event: ArrayLike) -> SurvivalCurve:
    """Kaplan and Meier's estimate with Greenwood's variance on the log-log scale.

    Args:
        time: [n], positive.
        event: bool [n]; False: censored at that time.

    Returns:
        Steps from time 0 (survival 1) over each time with an event to the last time seen. Bounds are NaN where
        survival is 0.
    """
    time, event = np.asarray(time, np.float64), np.asarray(event, bool)
    found = ecdf(CensoredData(uncensored=time[event], right=time[~event])).sf
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # no bounds where survival is 0
        bounds = found.confidence_interval(0.95, method="log-log")
    is_step = np.isin(found.quantiles, time[event])
    is_step[-1:] = True
    curves = (curve.probabilities[is_step] for curve in (found, bounds.low, bounds.high))
    survival, low, high = (np.append(1.0, curve) for curve in curves)
    low[survival == 1] = high[survival == 1] = 1.0
    return SurvivalCurve(np.append(0.0, found.quantiles[is_step]), survival, low, high)


def log_rank_p(time: ArrayLike, event: ArrayLike, group: ArrayLike, strata: ArrayLike | None = None) -> float:
    """Two-sided p-value that two groups have one survival curve; NaN where it cannot be told.

    Args:
        time: [n].
        event: bool [n].
        group: bool [n].
        strata: [n]; patients are compared within a stratum only. None: all with all.
    """
    time, event, group = np.asarray(time, np.float64), np.asarray(event, bool), np.asarray(group, bool)
    strata = np.zeros(len(time)) if strata is None else np.asarray(strata)
    excess = variance = 0.0
    for stratum in np.unique(strata):
        mine = strata == stratum
        for now in np.unique(time[mine & event]):
            waiting = mine & (time >= now)
            n, n_group = int(waiting.sum()), int((waiting & group).sum())
            deaths = int((mine & event & (time == now)).sum())
            excess += int((mine & event & group & (time == now)).sum()) - deaths * n_group / n
            if n > 1:
                variance += deaths * (n - deaths) * n_group * (n - n_group) / (n * n * (n - 1))
    return float(chi2.sf(excess * excess / variance, 1)) if variance > 0 else float("nan")


def upper_half(values: ArrayLike, groups: ArrayLike) -> NDArray[np.bool_]:
    """Which values [n] lie above the median of their own group [n]: risks of two models share no scale."""
    values, groups = np.asarray(values, np.float64), np.asarray(groups)
    upper = np.zeros(len(values), bool)
    for group in np.unique(groups):
        mine = groups == group
        upper[mine] = values[mine] > np.median(values[mine])
    return upper


def discordant_share(time: ArrayLike, event: ArrayLike, risk: ArrayLike) -> tuple[Floats, NDArray[np.int64]]:
    """How far each patient stands from its place: the share of its comparable pairs that the risk orders wrongly.

    A pair is comparable where the one with the shorter time had the event (Harrell). Equal risks count one half.

    Args:
        time: [n].
        event: bool [n].
        risk: [n], higher means earlier.

    Returns:
        Shares [n], NaN without comparable pair, and the number of comparable pairs [n].
    """
    time, event, risk = np.asarray(time, np.float64), np.asarray(event, bool), np.asarray(risk, np.float64)
    first = (time[:, None] < time[None, :]) & event[:, None]
    wrong = np.where(risk[:, None] < risk[None, :], 1.0, 0.5 * (risk[:, None] == risk[None, :])) * first
    pairs = first.sum(0) + first.sum(1)
    with np.errstate(invalid="ignore"):
        return (wrong.sum(0) + wrong.sum(1)) / pairs, pairs


def holm(p_values: ArrayLike) -> Floats:
    """Holm's adjustment of p-values [n] for their number; NaN stays NaN and does not count."""
    p_values = np.asarray(p_values, np.float64)
    adjusted = np.full_like(p_values, np.nan)
    known = np.flatnonzero(np.isfinite(p_values))
    order = known[np.argsort(p_values[known], kind="stable")]
    steps = p_values[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted
