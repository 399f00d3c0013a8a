"""Metrics of classifiers and graders, against scikit-learn."""

import itertools
import math

import numpy as np
import pytest
from plain_metrics import classification_metrics
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    brier_score_loss,
    cohen_kappa_score,
    f1_score,
    mean_absolute_error,
    roc_auc_score,
)

from bundle.evaluation.metrics.classification import ClassificationMetrics, calibration_error


def predicted(n_classes, n_rows, seed=0, decimals=2):
    """Targets of which every class has some, and probabilities that know a little and have ties."""
    rng = np.random.default_rng(seed)
    targets = rng.permutation(np.arange(n_rows) % n_classes)
    scores = rng.dirichlet(np.ones(n_classes), n_rows) + 0.3 * np.eye(n_classes)[targets]
    scores = np.round(scores / scores.sum(1, keepdims=True), decimals)
    return targets, scores / scores.sum(1, keepdims=True)


def slow_calibration_error(confidence, correct, n_bins=15):
    """Mean gap between confidence and share of hits, a bin after the other."""
    edges = np.arange(n_bins + 1) / n_bins
    inside = [(confidence > low) & (confidence <= high) for low, high in itertools.pairwise(edges)]
    return sum(abs(correct[rows].sum() - confidence[rows].sum()) for rows in inside) / len(confidence)


def test_calibration_error_is_the_definition():
    """In bins open below and closed above; each sample's in its own rows; two sure predictions have none."""
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.01, 0.99, 300)
    correct = rng.random(300) < confidence**2
    weights = np.stack([np.ones(300), np.arange(300) < 100])
    got = calibration_error(confidence, correct, weights, n_bins=10)
    slow = [slow_calibration_error(confidence[:n], correct[:n], 10) for n in (300, 100)]
    assert got.tolist() == pytest.approx(slow)
    assert calibration_error(np.array([0.0, 1.0]), np.array([False, True]), np.ones((1, 2))) == 0


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("n_classes", [2, 3, 5])
def test_figures_are_scikit_learns(n_classes, seed):
    """On planted signal, with ties: each metric is the library's, the calibration error the definition."""
    targets, scores = predicted(n_classes, 61, seed, decimals=1)
    classes, guess = list(range(n_classes)), scores.argmax(1)
    one_column = scores[:, 1] if n_classes == 2 else scores
    expected = {
        "accuracy": accuracy_score(targets, guess),
        "balanced_accuracy": balanced_accuracy_score(targets, guess),
        "auc": roc_auc_score(targets, one_column, multi_class="ovr"),
        "f1": f1_score(targets, guess, average="macro"),
        "kappa": cohen_kappa_score(targets, guess),
        "ece": slow_calibration_error(scores.max(1), guess == targets),
        "brier": brier_score_loss(targets, one_column, labels=classes),
        "quadratic_kappa": cohen_kappa_score(targets, guess, weights="quadratic", labels=classes),
        "mae": mean_absolute_error(targets, guess),
    }
    got = classification_metrics(targets, scores, is_ordinal=True)
    assert got == pytest.approx(expected, abs=1e-12) and expected["auc"] > 0.6
    assert list(got) == ClassificationMetrics(is_ordinal=True).names
    assert list(classification_metrics(targets, scores)) == ClassificationMetrics().names


def test_auc_is_the_share_of_pairs_in_order():
    """Counted by hand over four pairs; a tie counts one half."""
    targets = [0, 0, 1, 1]
    for column, auc in (([0.1, 0.4, 0.35, 0.8], 0.75), ([0.1, 0.4, 0.4, 0.8], 0.875), ([0.5] * 4, 0.5)):
        column = np.array(column)
        assert classification_metrics(targets, np.column_stack([1 - column, column]))["auc"] == auc


@pytest.mark.parametrize("n_classes", [2, 4])
def test_weights_are_rows_that_stand_there_repeatedly(n_classes):
    """A weighted sample has the metrics of the rows written out that often."""
    targets, scores = predicted(n_classes, 40)
    weights = np.random.default_rng(1).multinomial(40, np.ones(40) / 40, size=20)
    got = ClassificationMetrics(is_ordinal=True)(targets, scores, weights)
    for sample, times in enumerate(weights):
        rows = np.repeat(np.arange(40), times)
        expected = classification_metrics(targets[rows], scores[rows], is_ordinal=True)
        assert {name: values[sample] for name, values in got.items()} == pytest.approx(expected, abs=1e-12)


def test_a_class_that_is_not_there_is_left_out():
    """AUC, F1 and balanced accuracy are means over the classes there are, as scikit-learn has it."""
    targets, scores = predicted(3, 45)
    kept = targets != 1
    got = classification_metrics(targets[kept], scores[kept])
    areas = [roc_auc_score(targets[kept] == c, scores[kept, c]) for c in (0, 2)]
    assert got["auc"] == pytest.approx(np.mean(areas))
    assert got["f1"] == pytest.approx(f1_score(targets[kept], scores[kept].argmax(1), average="macro"))
    found = [(scores[targets == c].argmax(1) == c).mean() for c in (0, 2)]
    assert got["balanced_accuracy"] == pytest.approx(np.mean(found))


def test_what_is_not_defined_is_nan():
    """One class, no row, scores that are no numbers: never an exception."""
    one_class = classification_metrics([0, 0], [[0.9, 0.1], [0.8, 0.2]], is_ordinal=True)
    assert math.isnan(one_class["auc"]) and math.isnan(one_class["kappa"]) and math.isnan(one_class["quadratic_kappa"])
    assert one_class["accuracy"] == one_class["balanced_accuracy"] == 1 and one_class["mae"] == 0
    for targets, scores in (([], np.empty((0, 2))), ([0, 1], [[0.5, 0.5], [math.nan, 1]])):
        assert all(math.isnan(value) for value in classification_metrics(targets, scores, is_ordinal=True).values())


def test_shapes_that_do_not_fit_are_refused():
    """Scores of one column, another number of rows, a class without a column."""
    with pytest.raises(ValueError, match=r"got \(2,\) and \(2,\)"):
        classification_metrics([0, 1], [0.2, 0.8])
    with pytest.raises(ValueError, match=r"got \(1,\) and \(2, 2\)"):
        classification_metrics([0], [[0.2, 0.8], [0.1, 0.9]])
    with pytest.raises(ValueError, match="targets from 0 to 1 are needed: got 0 to 2"):
        classification_metrics([0, 2], [[0.2, 0.8], [0.1, 0.9]])
