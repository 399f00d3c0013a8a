"""Metrics over seeds are means, and so are their intervals those of a mean."""

import numpy as np

from bundle.evaluation.metrics.classification import ClassificationMetrics
from bundle.evaluation.metrics.intervals import bootstrap
from bundle.evaluation.metrics.over_seeds import OverSeeds


def scores(n_seeds, n=40):
    """Classes, and probabilities that are right more often than not, with each seed."""
    rng = np.random.default_rng(0)
    targets = np.arange(n) % 2
    right = rng.uniform(size=(n_seeds, n)) * 0.7 + 0.3
    first = np.where(targets == 0, right, 1 - right)
    return targets, np.stack([first, 1 - first], 2)


def test_one_seed_changes_nothing():
    """Metrics and intervals are the same to the bit."""
    targets, each = scores(1)
    alone, over = ClassificationMetrics(), OverSeeds(ClassificationMetrics())
    assert {n: v.tolist() for n, v in over(targets, each).items()} == {
        n: v.tolist() for n, v in alone(targets, each[0]).items()
    }
    one, other = bootstrap(over, targets, each, 200, 3), bootstrap(alone, targets, each[0], 200, 3)
    np.testing.assert_equal({n: tuple(i) for n, i in one.items()}, {n: tuple(i) for n, i in other.items()})


def test_figures_are_means_in_every_sample_of_rows():
    """Not those of the mean scores, which would be an ensemble's."""
    targets, each = scores(3)
    weights = np.random.default_rng(1).integers(1, 3, (5, 40))
    metrics = ClassificationMetrics()
    found = OverSeeds(metrics)(targets, each, weights)
    for name, values in found.items():
        np.testing.assert_allclose(values, np.mean([metrics(targets, s, weights)[name] for s in each], 0))
    ensemble = metrics(targets, each.mean(0), weights)
    assert not np.allclose(found["auc"], ensemble["auc"])
