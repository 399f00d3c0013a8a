"""Paired differences: they find what is there, and what is not no more often than 5 % of the time."""

import math

import numpy as np
import pytest
from plain_metrics import classification_metrics
from scipy.stats import ttest_rel

from bundle.cohort import patient_folds
from bundle.evaluation import bootstrap
from bundle.evaluation.metrics.classification import ClassificationMetrics
from bundle.evaluation.metrics.intervals import compare_bootstrap, over_folds
from bundle.evaluation.metrics.survival import SurvivalMetrics


def two_columns(column):
    """Probabilities of two classes."""
    return np.column_stack([1 - column, column])


def test_a_difference_over_folds_is_the_paired_t_test_but_for_the_variance():
    """Without test rows the correction is none, and SciPy's paired test has the same p; with them p is larger."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.8, 0.05, 10), rng.normal(0.75, 0.05, 10)
    theirs = ttest_rel(a, b)
    got = over_folds(np.subtract(a, b), 90, 0)
    assert got.p_value == pytest.approx(theirs.pvalue)
    low, high = theirs.confidence_interval()
    assert got.interval[:3] == pytest.approx((np.mean(a - b), low, high))
    corrected = over_folds(np.subtract([*a, math.nan], [*b, 0.5]), 90, 10)
    assert corrected.p_value > got.p_value and corrected.interval.n == 10
    assert (corrected.p_value < 0.05) == (corrected.interval.low > 0)


def test_folds_that_are_equal():
    """The same metrics: no difference, p is 1; the same difference in each fold: no p can be given."""
    same, shifted = (
        over_folds(np.subtract([0.5, 1], [0.5, 1]), 9, 1),
        over_folds(np.subtract([0.5, 1], [0.25, 0.75]), 9, 1),
    )
    assert same.p_value == 1 and same.interval.value == 0 and math.isnan(same.interval.low)
    assert math.isnan(shifted.p_value) and shifted.interval.value == 0.25


def test_compare_bootstrap_is_paired():
    """A small gain on every row is seen, though the intervals of both methods overlap widely."""
    rng = np.random.default_rng(0)
    targets = np.repeat([0, 1], 40)
    noise = rng.normal(size=80)
    better, worse = (two_columns(1 / (1 + np.exp(-(noise + gain * (targets - 0.5))))) for gain in (1.6, 0.8))
    metrics = ClassificationMetrics()
    got = compare_bootstrap(metrics, targets, better, worse, 1000)["auc"]
    alone = [bootstrap(metrics, targets, scores, 1000)["auc"] for scores in (better, worse)]
    assert got.interval.value == pytest.approx(alone[0].value - alone[1].value)
    assert alone[0].low < alone[1].high and got.interval.low > 0 and got.p_value < 0.01
    reverse = compare_bootstrap(metrics, targets, worse, better, 1000)["auc"]
    assert reverse.interval.high == pytest.approx(-got.interval.low, abs=0.01) and reverse.interval.value < 0


def test_the_p_value_belongs_to_the_interval():
    """p is below 0.05 exactly where the interval leaves 0 out; for survival, too."""
    outcomes = set()
    for seed in range(30):
        rng = np.random.default_rng(seed)
        targets = np.column_stack([rng.exponential(1, 40) + 0.01, rng.random(40) < 0.7])
        known, other = -targets[:, :1] + rng.normal(size=(40, 1)) * 2, rng.normal(size=(40, 1))
        got = compare_bootstrap(SurvivalMetrics(), targets, known, other, 500, seed)["c_index"]
        if abs(got.p_value - 0.05) > 0.005:  # quantiles of 500 samples are no finer
            assert (got.p_value < 0.05) == (got.interval.low > 0 or got.interval.high < 0)
            outcomes.add(got.p_value < 0.05)
    assert outcomes == {True, False}


def test_a_method_against_itself():
    """No difference, p is 1, and no bounds of no width."""
    targets, scores = np.arange(20) % 2, two_columns(np.random.default_rng(0).random(20))
    got = compare_bootstrap(ClassificationMetrics(), targets, scores, scores, 100)["auc"]
    assert got.interval.value == 0 and got.p_value == 1 and math.isnan(got.interval.low)


def centroid_scores(features, labels, split):
    """Probabilities by the nearer mean of the training rows' classes."""
    x, y = features[split.train], labels[split.train]
    direction = x[y == 1].mean(0) - x[y == 0].mean(0)
    return two_columns(1 / (1 + np.exp(-features[split.test] @ direction)))


def test_two_useless_methods_seldom_differ():
    """Labels drawn at random, 200 repetitions: p is below 0.05 in 4 to 17 of them, over folds and on one test set."""
    n_folds_found = n_bootstrap_found = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, 2, 60)
        splits, areas, scores = patient_folds(labels, 10, seed), [], []
        for _ in range(2):
            features = rng.normal(size=(60, 4))
            found = [centroid_scores(features, labels, split) for split in splits]
            areas.append([classification_metrics(labels[s.test], f)["auc"] for s, f in zip(splits, found, strict=True)])
            scores.append(two_columns(rng.random(60)))
        n_folds_found += over_folds(np.subtract(*areas), 54, 6).p_value < 0.05
        n_bootstrap_found += (
            compare_bootstrap(ClassificationMetrics(), labels, *scores, 500, seed)["auc"].p_value < 0.05
        )
    assert 4 <= n_folds_found <= 17 and 4 <= n_bootstrap_found <= 17
