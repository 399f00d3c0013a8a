"""Robustness of encoders in an evaluation: the index and the probes with their intervals, and what is left out."""

import numpy as np
import pytest
import torch
from evaluations import bare_evaluation
from given_features import GivenFeatures
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bundle.cohort import PatientRows, Split
from bundle.evaluation.features.split_features import SplitFeatures
from bundle.evaluation.metrics.intervals import share_intervals
from bundle.evaluation.metrics.robustness_index import neighbor_kinds, random_index
from bundle.evaluation.robustness import robustness

N, R, D = 36, 6, 10
CLASSES, SITE = np.arange(N) % 2, np.arange(N) // 2 % 3
FOLDS = [
    Split(f"fold {i}", np.flatnonzero(np.arange(N) % 4 != i), np.flatnonzero(np.arange(N) % 4 == i)) for i in range(4)
]


def regions(site_effect, seed=0):
    """Six regions a slide, a slide a patient; classes and sites are directions."""
    rng = np.random.default_rng(seed)
    eye = np.eye(D)
    slides = 2 * eye[CLASSES] + site_effect * eye[2 + SITE] + 0.4 * rng.normal(size=(N, D))
    return np.repeat(slides, R, axis=0) + 0.5 * rng.normal(size=(N * R, D))


def found(task="classification", sites=True):
    """An evaluation that has predicted nothing yet."""
    targets = CLASSES if task == "classification" else np.ones((N, 2))
    return bare_evaluation(targets, FOLDS, sites=[f"site {s}" for s in SITE] if sites else [None] * N)


def run(effects, evaluation, harmonize=None, k=7):
    members = [[i] for i in range(N)]
    features = GivenFeatures({name: regions(effect) for name, effect in effects.items()}, (R,) * N)
    rows = PatientRows(evaluation.units, evaluation.slides, members, [None] * N, evaluation.sites)
    rounds = SplitFeatures(features, rows, FOLDS, harmonize).rounds()
    return {(r.encoder, r.metric): r for r in robustness(rounds, members, evaluation, k, 200)}


def test_the_index_is_that_of_the_patients_vectors():
    """At the chosen k and along the curve; the more of the site, the lower, and the interval holds it."""
    got = run({"none": 0.0, "strong": 6.0}, found())
    for name, effect in (("none", 0.0), ("strong", 6.0)):
        item = got[name, "robustness_index"]
        vectors = regions(effect).reshape(N, R, D).mean(1)
        counts = neighbor_kinds(vectors, CLASSES, found().sites, np.arange(N), 30)
        for k, interval in item.curve.items():
            so, os = counts[0][:, k - 1].sum(), counts[1][:, k - 1].sum()
            assert interval.value == pytest.approx(so / max(so + os, 1)) or so + os == 0 and np.isnan(interval.value)
        assert item.k == 7 and item.interval == item.curve[7] and max(item.curve) == 30
        assert item.chance == random_index(CLASSES, found().sites) and item.features == "region_embedding"
        assert item.interval.low <= item.interval.value <= item.interval.high and item.interval.low < item.interval.high
    assert (
        got["none", "robustness_index"].interval.value > 0.95 > 0.5 > got["strong", "robustness_index"].interval.value
    )


def test_probes_are_scikit_learns_ridge_classifier():
    """Every second region of each slide, and every second patient of each site; no site, near chance."""
    got = run({"none": 0.0, "strong": 6.0}, found())
    rows, slide = regions(6.0).astype(np.float32).astype(np.float64), np.repeat(np.arange(N), R)
    seen = np.tile([True, False], N * R // 2)
    patient_seen = np.zeros(N, bool)
    for site in range(3):
        patient_seen[np.flatnonzero(SITE == site)[::2]] = True
    for metric, target, train in (("slide_identity", slide, seen), ("site_identity", SITE[slide], patient_seen[slide])):
        model = make_pipeline(StandardScaler(), RidgeClassifier(alpha=1.0)).fit(rows[train], target[train])
        assert got["strong", metric].interval.value == pytest.approx(model.score(rows[~train], target[~train]))
    assert got["strong", "site_identity"].interval.value > 0.99 > 0.7 > got["none", "site_identity"].interval.value
    assert got["none", "site_identity"].chance == pytest.approx(1 / 3)
    assert got["none", "slide_identity"].chance == pytest.approx(1 / N)


def test_combat_takes_the_site_out():
    """Each patient is asked for in the split that tests it; the index rises and the site is told no more."""
    plain, combat = run({"A": 6.0}, found()), run({"A": 6.0}, found(), "combat")
    assert combat["A", "robustness_index"].interval.value > 0.9 > 0.5 > plain["A", "robustness_index"].interval.value
    assert combat["A", "site_identity"].interval.value < 0.7
    assert set(run({"A": 6.0}, found(), "center_slide")) == {("A", "slide_identity"), ("A", "site_identity")}


def test_what_cannot_be_told_is_left_out():
    """Without sites only slides are told; survival has no classes, and no index."""
    assert set(run({"A": 0.0}, found(sites=False))) == {("A", "slide_identity")}
    assert set(run({"A": 0.0}, found("survival"))) == {("A", "slide_identity"), ("A", "site_identity")}


def test_intervals_of_shares_count_patients():
    """The share of all trials; wider where hits come patient by patient; exact binomial where all hit; NaN without."""
    rng = np.random.default_rng(0)
    together = np.repeat(rng.random((40, 1)) < 0.7, 2, 1) * np.array([10, 0])
    spread = rng.binomial(10, 0.7, (40, 1))
    hits = np.concatenate([together[:, :1], spread, np.full((40, 1), 10), np.zeros((40, 1), int)], 1)
    trials = np.concatenate([np.full((40, 3), 10), np.zeros((40, 1), int)], 1)
    by_patient, mixed, all_hit, none = share_intervals(hits, trials, 500)
    assert by_patient.value == pytest.approx(hits[:, 0].sum() / 400)
    assert by_patient.high - by_patient.low > 2 * (mixed.high - mixed.low)
    assert (all_hit.low, all_hit.high) == (0.025 ** (1 / 40), 1.0) and np.isnan(none.value)
    assert torch.isfinite(torch.tensor(by_patient[:3])).all()
