"""The concordance index, against a double loop over pairs."""

import math

import numpy as np
import pytest
from plain_metrics import c_index, survival_metrics

from bundle.evaluation.metrics import survival
from bundle.evaluation.metrics.survival import SurvivalMetrics


def slow_c_index(time, event, risk):
    """Every ordered pair (i, j) in which i is known to have come first."""
    right = pairs = 0.0
    for i in range(len(time)):
        for j in range(len(time)):
            if event[i] and (time[i] < time[j] or (time[i] == time[j] and not event[j])):
                pairs += 1
                right += 1.0 if risk[i] > risk[j] else 0.5 if risk[i] == risk[j] else 0.0
    return right / pairs


def patients(n, seed, n_times=12, n_risks=6):
    """Times with ties, a third censored, risks with ties that know a little."""
    rng = np.random.default_rng(seed)
    time = rng.integers(1, n_times, n).astype(float)
    return time, rng.random(n) < 0.67, np.round(rng.normal(size=n) - 0.2 * time * n_risks / 6, 0)


@pytest.mark.parametrize("seed", range(5))
def test_it_is_the_double_loop(seed, monkeypatch):
    """With ties in time and risk and with censoring; in blocks of pairs, too."""
    time, event, risk = patients(40, seed)
    expected = slow_c_index(time, event, risk)
    assert c_index(time, event, risk) == pytest.approx(expected) and expected > 0.55
    monkeypatch.setattr(survival, "_CELLS", 100)
    assert c_index(time, event, risk) == pytest.approx(expected)
    targets = np.column_stack([time, event])
    assert survival_metrics(targets, risk[:, None]) == {"c_index": pytest.approx(expected)}


def test_by_hand():
    """Four patients, counted on paper: four comparable pairs."""
    time, event = [1, 2, 3, 4], [1, 0, 1, 1]  # pairs: (1,2) (1,3) (1,4) (3,4)
    assert c_index(time, event, [4, 3, 2, 1]) == 1
    assert c_index(time, event, [1, 2, 3, 4]) == 0
    assert c_index(time, event, [3, 3, 4, 1]) == (0.5 + 0 + 1 + 1) / 4
    assert c_index([1, 1], [1, 0], [2, 1]) == 1 and math.isnan(c_index([1, 1], [1, 1], [2, 1]))


def test_weights_are_patients_that_stand_there_repeatedly():
    """A weighted sample has the index of the patients written out that often."""
    time, event, risk = patients(25, 9)
    targets, weights = (
        np.column_stack([time, event]),
        np.random.default_rng(1).multinomial(25, np.ones(25) / 25, size=8),
    )
    got = SurvivalMetrics()(targets, risk, weights)["c_index"]
    rows = [np.repeat(np.arange(25), times) for times in weights]
    assert got == pytest.approx([slow_c_index(time[r], event[r], risk[r]) for r in rows])


def test_nothing_to_compare():
    """Without events, rows or finite risks there is no index; shapes that do not fit are refused."""
    assert math.isnan(c_index([1, 2], [0, 0], [1, 2])) and math.isnan(c_index([], [], []))
    assert math.isnan(c_index([1, 2], [1, 1], [1, math.nan]))
    with pytest.raises(ValueError, match=r"got \(2, 2\) and \(3, 1\)"):
        survival_metrics([[1, 1], [2, 0]], [[1], [2], [3]])
