"""Points of ROC and survival curves, against slow readings of their definitions and scikit-learn."""

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from bundle.evaluation.metrics.curves import discordant_share, holm, log_rank_p, mean_roc, survival_curve, upper_half

# Freireich et al., Blood 1963: weeks of remission under 6-mercaptopurine (with censoring) and placebo
TREATED = [6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35]
TREATED_EVENT = [1, 1, 1, 0, 1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0]
PLACEBO = [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23]


def test_one_kind_of_rows_has_no_roc_curve():
    """A test set of one class is left out of the mean, which is None without any."""
    assert mean_roc([(np.zeros(3, int), np.full((3, 2), 0.5))]) is None


@pytest.mark.parametrize("n_classes", [2, 4])
def test_area_under_the_mean_curve_is_the_mean_area(n_classes):
    """Vertical averaging keeps the area: scikit-learn's AUC (macro one-vs-rest for more classes), mean over folds."""
    rng, tests, areas = np.random.default_rng(n_classes), [], []
    for _ in range(5):
        targets = np.tile(np.arange(n_classes), 12)
        scores = rng.dirichlet(np.ones(n_classes), len(targets)) + 0.4 * np.eye(n_classes)[targets]
        scores /= scores.sum(1, keepdims=True)
        tests.append((targets, scores))
        areas.append(roc_auc_score(targets, scores[:, 1] if n_classes == 2 else scores, multi_class="ovr"))
    band = mean_roc([*tests, (np.ones(3, int), np.full((3, n_classes), 0.3))], n_points=5001)
    assert band.n_curves == 5 and (band.fpr[0], band.tpr[0], band.tpr[-1]) == (0, 0, 1)
    assert np.trapezoid(band.tpr, band.fpr) == pytest.approx(np.mean(areas), abs=2e-3)
    assert band.sd.max() > 0 and mean_roc(tests[:1]).sd.max() == 0


def test_survival_is_the_textbooks():
    """Freireich's treated method: published estimates of the curve and of the 95 % bounds; a loop gives every step."""
    curve = survival_curve(TREATED, TREATED_EVENT)
    published = {6: 0.857, 7: 0.807, 10: 0.753, 13: 0.690, 16: 0.627, 22: 0.538, 23: 0.448}
    got = dict(zip(curve.time.tolist(), curve.survival.tolist(), strict=True))
    assert {week: round(got[week], 3) for week in published} == published
    assert got[0] == 1.0 and got[35] == got[23]
    left = 1.0
    for week in sorted({t for t, e in zip(TREATED, TREATED_EVENT, strict=True) if e}):
        at_risk = sum(t >= week for t in TREATED)
        left *= 1 - sum(t == week and e for t, e in zip(TREATED, TREATED_EVENT, strict=True)) / at_risk
        assert got[week] == pytest.approx(left)
    # survfit(conf.type = "log-log") at week 6: 0.620 to 0.952
    assert (round(curve.low[1], 3), round(curve.high[1], 3)) == (0.620, 0.952)


def test_survival_at_its_ends():
    """Nobody left: survival 0 with no bounds; nobody dies: a flat line to the last time."""
    dead = survival_curve([1, 2], [1, 1])
    assert dead.survival.tolist() == [1, 0.5, 0] and math.isnan(dead.high[-1])
    alive = survival_curve([1, 2], [0, 0])
    assert alive.time.tolist() == [0, 2] and alive.survival.tolist() == [1, 1]


def test_log_rank_is_the_textbooks():
    """Freireich's two methods: chi-square 16.79, p about 4e-5; equal methods, 1; one group or no event, NaN."""
    time, event = TREATED + PLACEBO, TREATED_EVENT + [1] * len(PLACEBO)
    group = [False] * len(TREATED) + [True] * len(PLACEBO)
    assert log_rank_p(time, event, group) == pytest.approx(4.17e-5, rel=0.01)
    assert log_rank_p([1, 2, 3] * 2, [1] * 6, [0, 0, 0, 1, 1, 1]) == pytest.approx(1.0)
    assert math.isnan(log_rank_p([1, 2], [1, 1], [1, 1])) and math.isnan(log_rank_p([1, 2], [0, 0], [0, 1]))


def test_strata_are_compared_within():
    """Two strata with times of another scale: a difference between strata alone is none between groups."""
    time = np.array([1, 2, 3, 4, 1, 2, 3, 4, 101, 102, 103, 104])
    group, strata = np.array([0] * 4 + [1] * 4 + [1] * 4), np.array([0] * 8 + [1] * 4)
    assert log_rank_p(time, np.ones(12), group, strata) == pytest.approx(1.0)
    assert log_rank_p(time, np.ones(12), group) < 0.1


def test_halves_are_of_the_own_group():
    """The median of each group splits it; equal risks fall into the lower half together."""
    assert upper_half([1, 2, 3, 4, 10, 20], [0, 0, 0, 0, 1, 1]).tolist() == [False, False, True, True, False, True]
    assert not upper_half([5.0, 5.0, 5.0], [0, 0, 0]).any()


def test_discordance_is_the_double_loop():
    """Each patient's wrongly ordered share of its comparable pairs; the mean over pairs is 1 - Harrell's c-index."""
    rng = np.random.default_rng(3)
    time, event, risk = rng.integers(1, 20, 40), rng.random(40) < 0.6, rng.integers(0, 10, 40)
    share, pairs = discordant_share(time, event, risk)
    both = n_pairs = 0.0
    for i in range(40):
        wrong = total = 0.0
        for j in range(40):
            for a, b in ((i, j), (j, i)):
                if time[a] < time[b] and event[a]:
                    total += 1
                    wrong += 1.0 if risk[a] < risk[b] else 0.5 if risk[a] == risk[b] else 0.0
        assert pairs[i] == total
        assert share[i] == pytest.approx(wrong / total) if total else math.isnan(share[i])
        both, n_pairs = both + wrong, n_pairs + total
    assert np.average(np.nan_to_num(share), weights=pairs) == pytest.approx(both / n_pairs)
    assert np.isnan(discordant_share([1, 2], [0, 0], [1, 2])[0]).all()


def test_holm_is_the_step_down_procedure():
    """A hypothesis is rejected at a level exactly where Holm's procedure, step by step, rejects it; NaN stays."""
    p = np.array([0.01, 0.04, np.nan, 0.03, 0.005, 0.9])
    adjusted = holm(p)
    assert np.isnan(adjusted[2])
    for level in np.linspace(0.001, 0.999, 997):
        rejected: set[int] = set()
        for step, index in enumerate([4, 0, 3, 1, 5]):
            if p[index] > level / (5 - step):
                break
            rejected.add(index)
        assert set(np.flatnonzero(adjusted <= level)) == rejected
