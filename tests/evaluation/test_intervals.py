"""95 % intervals: they hold what they promise, counted over 200 repetitions with seeds 0 to 199."""

import math

import numpy as np
import pytest
from plain_metrics import classification_metrics
from scipy.stats import bootstrap as scipy_bootstrap
from scipy.stats import norm
from scipy.stats import t as student
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from bundle.cohort import patient_folds
from bundle.evaluation import bootstrap
from bundle.evaluation.metrics import intervals
from bundle.evaluation.metrics.classification import ClassificationMetrics
from bundle.evaluation.metrics.intervals import over_folds
from bundle.evaluation.metrics.survival import SurvivalMetrics

CLASSIFIERS = {"logistic": lambda: LogisticRegression(), "knn": lambda: KNeighborsClassifier(5, weights="distance")}
classifiers = pytest.mark.parametrize("classifier", CLASSIFIERS.values(), ids=CLASSIFIERS)
EXPECTED = range(183, 197)  # of 200: what a true share of 95 % gives in all but 1 % of such counts, and a bit more


def noise(seed, n_rows, dim=8):
    """Features and labels that have nothing to do with each other."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n_rows, dim)), rng.integers(0, 2, n_rows)


@classifiers
def test_interval_over_folds_holds_chance_level(classifier):
    """Labels drawn at random, a real classifier in 10 stratified folds: the interval of AUC holds 0.5 as promised."""
    n_held = 0
    for seed in range(200):
        features, labels = noise(seed, 60)
        splits = patient_folds(labels, 10, seed)
        areas = []
        for split in splits:
            model = classifier().fit(features[split.train], labels[split.train])
            scores = model.predict_proba(features[split.test])
            areas.append(classification_metrics(labels[split.test], scores)["auc"])
        interval = over_folds(areas, [len(s.train) for s in splits], [len(s.test) for s in splits]).interval
        n_held += interval.low <= 0.5 <= interval.high
    assert n_held in EXPECTED


@classifiers
def test_bootstrap_interval_holds_chance_level(classifier):
    """Labels drawn at random, one fixed split of 40 + 40 patients: the interval of AUC holds 0.5 as promised."""
    n_held = 0
    for seed in range(200):
        features, labels = noise(seed, 80)
        model = classifier().fit(features[:40], labels[:40])
        interval = bootstrap(ClassificationMetrics(), labels[40:], model.predict_proba(features[40:]), 1000, seed)[
            "auc"
        ]
        n_held += interval.low <= 0.5 <= interval.high
    assert n_held in EXPECTED


@pytest.mark.parametrize(("n_negative", "n_positive", "auc"), [(12, 36, 0.75), (20, 20, 0.9), (6, 6, 0.75)])
def test_bootstrap_interval_holds_planted_auc(n_negative, n_positive, auc):
    """Where there is a signal the interval holds its true AUC, too; on 6 + 6 patients at least as often."""
    shift, n_held = math.sqrt(2) * norm.ppf(auc), 0
    targets = np.repeat([0, 1], [n_negative, n_positive])
    for seed in range(200):
        scores = norm.cdf(np.random.default_rng(seed).normal(size=len(targets)) + shift * (targets - 0.5))
        interval = bootstrap(ClassificationMetrics(), targets, np.column_stack([1 - scores, scores]), 1000, seed)["auc"]
        n_held += interval.low <= auc <= interval.high
    assert n_held in (EXPECTED if len(targets) > 12 else range(183, 201))


def test_over_folds_by_hand():
    """Mean, standard deviation, and the t interval with Nadeau and Bengio's variance; NaN folds are left out."""
    values = [0.7, 0.8, 0.9, 0.85]
    got = over_folds([*values, math.nan], [90, 90, 90, 90, 10], [10, 10, 10, 10, 90]).interval
    mean, sd = np.mean(values), np.std(values, ddof=1)
    half = student.ppf(0.975, 3) * sd * math.sqrt(1 / 4 + 10 / 90)
    assert got[:4] == pytest.approx((mean, mean - half, mean + half, sd)) and got[4:] == ("nadeau-bengio", 4)
    assert got == over_folds(values, 90, 10).interval


@pytest.mark.parametrize(
    ("values", "value", "sd"), [([], math.nan, math.nan), ([0.8], 0.8, math.nan), ([1.0] * 5, 1, 0)]
)
def test_folds_that_tell_nothing_of_their_spread(values, value, sd):
    """None, one, or all equal: no bounds, rather than bounds of no width."""
    got = over_folds(values, 90, 10).interval
    assert (got.value, got.low, got.high, got.sd) == pytest.approx((value, math.nan, math.nan, sd), nan_ok=True)


def test_bootstrap_is_scipys():
    """Bounds of accuracy are those of SciPy's BCa on the rows that are right, up to the luck of the draw."""
    rng = np.random.default_rng(0)
    targets, column = rng.integers(0, 2, 60), rng.random(60)
    column = np.where(rng.random(60) < 0.5, 0.8 * targets + 0.1, column)
    got = bootstrap(ClassificationMetrics(), targets, np.column_stack([1 - column, column]), 20000, seed=1)["accuracy"]
    right = ((column > 0.5) == targets).astype(float)
    theirs = scipy_bootstrap((right,), np.mean, n_resamples=20000, method="BCa", rng=2)
    assert got.value == right.mean() and got.sd == pytest.approx(theirs.standard_error, rel=0.02)
    expected = theirs.confidence_interval
    assert (got.low, got.high) == pytest.approx((expected.low, expected.high), abs=0.02)


def test_chunks_and_seeds(monkeypatch):
    """The seed decides; how many resamples are weighed at a time does not."""
    time, risk = np.arange(1.0, 31), np.random.default_rng(0).normal(size=30)
    targets = np.column_stack([time, time % 3 > 0])
    first = bootstrap(SurvivalMetrics(), targets, risk[:, None], 300, seed=4)
    assert first != bootstrap(SurvivalMetrics(), targets, risk[:, None], 300, seed=5)
    monkeypatch.setattr(intervals, "_CELLS", 200)
    assert bootstrap(SurvivalMetrics(), targets, risk[:, None], 300, seed=4)["c_index"] == pytest.approx(
        first["c_index"]
    )


def test_a_perfect_test_set_has_an_exact_bound():
    """Resamples of a perfect order are perfect: it used to look certain. Now the bound is where luck is 2.5 %."""
    targets = np.repeat([0, 1], [5, 20])
    right = np.eye(2)[targets] * 0.8 + 0.1
    best = bootstrap(ClassificationMetrics(), targets, right, 200)
    assert best["auc"][:3] == pytest.approx((1, 0.025 ** (1 / 5), 1))
    assert best["accuracy"][:3] == pytest.approx((1, 0.025 ** (1 / 25), 1))
    assert math.isnan(best["kappa"].low) and best["kappa"].value == 1
    worst = bootstrap(ClassificationMetrics(), targets, right[:, ::-1], 200)
    assert worst["auc"][:3] == pytest.approx((0, 0, 1 - 0.025 ** (1 / 5)))


def test_samples_without_a_class_are_left_out_and_counted():
    """AUC of a sample that has lost a class is no metric; with a single row of a class there are no bounds."""
    rng = np.random.default_rng(0)
    scores = rng.dirichlet([1, 1], 9)
    few = bootstrap(ClassificationMetrics(), np.array([1, 1] + [0] * 7), scores, 2000)
    lost = (7 / 9) ** 9
    assert few["auc"].n == pytest.approx(2000 * (1 - lost), abs=60) and few["accuracy"].n == 2000
    assert few["auc"].low < few["auc"].value < few["auc"].high
    single = bootstrap(ClassificationMetrics(), np.array([1] + [0] * 8), scores, 2000)
    assert math.isnan(single["auc"].low) and math.isfinite(single["accuracy"].low)
    assert math.isnan(bootstrap(ClassificationMetrics(), [0, 0], scores[:2], 50)["auc"].value)


def test_the_calibration_error_has_no_interval():
    """It is too high on few rows, and higher in resamples: no interval around it would hold the truth."""
    rng = np.random.default_rng(0)
    got = bootstrap(ClassificationMetrics(), rng.integers(0, 2, 30), rng.dirichlet([1, 1], 30), 200)["ece"]
    assert got.value > 0 and got.sd > 0 and math.isnan(got.low) and math.isnan(got.high)
