"""From predictions of held-out patients to what a classifier needs to be used: a temperature, and a threshold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

Floats = NDArray[np.float64]
_SMALLEST = 1e-12  # probability that is told from 0
_TEMPERATURES = (0.05, 20.0)
_HALF = 0.5


def temperature_of(targets: NDArray[np.int64], scores: Floats) -> float:
    """The temperature T under which the classes are most likely if log probabilities are divided by it [1].

    Args:
        targets: class index [n], n at least 1.
        scores: probabilities [n, C] of patients that were not learned from.

    Returns:
        T, from 0.05 to 20: above 1 where the probabilities are too sure of themselves. 1 where the most probable
        class is everybody's own: the surer, the likelier, without end, and patients that nobody mistakes do not tell.

    References:
        [1] Guo, Pleiss, Sun, Weinberger, "On calibration of modern neural networks", ICML 2017.
    """
    if (scores.argmax(1) == targets).all():
        return 1.0
    logs = np.log(np.maximum(scores, _SMALLEST))

    def unlikely(log_temperature: float) -> float:
        return -float(log_softmax(logs / np.exp(log_temperature), axis=1)[np.arange(len(targets)), targets].mean())

    return float(np.exp(minimize_scalar(unlikely, bounds=np.log(_TEMPERATURES), method="bounded").x))


def threshold_of(is_second: NDArray[np.bool_], scores: Floats) -> float:
    """The probability from which on the second of two classes is called: that of the largest balanced accuracy.

    It lies halfway between two neighboring scores, so that it does not hang on one patient; of equal ones the one that
    is nearest to one half is taken, and one half where all patients are of one class.

    Args:
        is_second: of each patient, [n].
        scores: probability of the second class of patients that were not learned from, [n].
    """
    if is_second.all() or not is_second.any():
        return _HALF
    levels = np.unique(scores)
    cuts = np.append((levels[1:] + levels[:-1]) / 2, _HALF)
    called = scores >= cuts[:, None]
    hits = called[:, is_second].mean(1) + (~called)[:, ~is_second].mean(1)
    best = cuts[hits >= hits.max() - 1e-12]
    return float(best[np.abs(best - _HALF).argmin()])
