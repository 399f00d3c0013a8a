"""The evidence: its figures against scikit-learn, its second scanner, and arms that exist."""

import csv
from pathlib import Path

import numpy as np
import pytest
import yaml
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from scripts.bench.evidence.pieces import Arms
from scripts.bench.evidence.scores import (
    Predicted,
    auc,
    balanced_accuracy,
    read_predictions,
    resampled,
    score,
    smallest_difference,
)
from scripts.bench.evidence.second_scanner import patients_of_second, rendered

ROOT = Path(__file__).parents[2]


@pytest.fixture
def predicted():
    draws = np.random.default_rng(0)
    truth = np.repeat([0, 1, 2], [6, 5, 9])
    scores = draws.dirichlet([1, 1, 1], len(truth)) + 0.5 * np.eye(3)[truth]
    scores[3] = scores[7] = 1 / 3  # ties
    return Predicted(truth, scores / scores.sum(1, keepdims=True))


def test_figures_are_scikit_learns_of_the_patients_that_were_drawn(predicted):
    counts = resampled(predicted.truth, 20, 1)
    assert (counts[0] == 1).all()
    for name in range(3):  # as many of each class as there are
        assert (counts[:, predicted.truth == name].sum(1) == (predicted.truth == name).sum()).all()
    figures = {balanced_accuracy: [], auc: []}
    for row in counts.astype(int):
        drawn = np.repeat(np.arange(len(row)), row)
        truth, scores = predicted.truth[drawn], predicted.scores[drawn]
        figures[balanced_accuracy].append(balanced_accuracy_score(truth, scores.argmax(1)))
        figures[auc].append(roc_auc_score(truth, scores, multi_class="ovr", average="macro"))
    for figure, want in figures.items():
        np.testing.assert_allclose(figure(predicted, counts), want, atol=1e-12)


def test_an_interval_is_that_of_the_resamples_alone():
    values = np.array([0.5, *np.linspace(0, 1, 1001)])
    found = score(values)
    assert found.value == 0.5
    np.testing.assert_allclose([found.low, found.high], [0.025, 0.975])
    np.testing.assert_allclose(smallest_difference(values), 2.8 * np.linspace(0, 1, 1001).std(ddof=1))


def test_predictions_are_read_by_arm_and_patient(tmp_path):
    columns = ["encoder", "features", "protocol", "train_fraction", "split", "patient", "label"]
    rows = [
        ["A", "region_embedding", "knn", 1.0, "fold 1", "p2", "x", 0.75, 0.25],
        ["A", "region_embedding", "knn", 1.0, "fold 0", "p1", "y", 0.5, 0.5],
        ["A", "region_embedding", "knn", 0.25, "fold 0", "p1", "y", 1.0, 0.0],
    ]
    with (tmp_path / "predictions.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([[*columns, "probability of x", "probability of y"], *rows])
    ((arm, found),) = read_predictions(tmp_path / "predictions.csv").items()
    assert arm == ("A", "region_embedding", "knn")
    assert found.truth.tolist() == [1, 0] and found.scores.tolist() == [[0.5, 0.5], [0.75, 0.25]]


def test_the_second_scanner_has_half_of_each_class_and_a_habit_of_its_own():
    rows = [{"patient": f"{name}{i}", "organ": name} for name in "ab" for i in range(4)] * 2
    chosen = patients_of_second(rows, "organ", 3)
    assert sorted(patient[0] for patient in chosen) == ["a", "a", "b", "b"]
    assert chosen == patients_of_second(rows[::-1], "organ", 3)
    draws = np.random.default_rng(0)
    pictures = draws.integers(120, 256, (2, 1100, 40, 3)).astype(np.uint8)  # more rows than a strip
    first, again, other = rendered(pictures[0], 1, 0), rendered(pictures[0], 1, 0), rendered(pictures[1], 1, 1)
    np.testing.assert_array_equal(first, again)
    shifts = [(made.astype(float) - given).mean((0, 1)) for made, given in ((first, pictures[0]), (other, pictures[1]))]
    assert np.abs(shifts[0]).max() > 3 * np.abs(shifts[0] - shifts[1]).max()  # the scanner's, more than the day's
    white = np.full((8, 8, 3), 255, np.uint8)
    assert (rendered(white, 1, 0) >= 254).all()


def test_arms_set_ids_that_training_has():
    known = yaml.safe_load((ROOT / "configs" / "train.yaml").read_text())
    arms = Arms.read()
    for changes in (arms.settings, *arms.arms.values()):
        assert not set(changes) - set(known)
    assert list(arms.arms)[-1] == "SLPD"
