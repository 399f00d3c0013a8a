"""The linear probe is scikit-learn's logistic regression, its penalty chosen on training patients only."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bundle.evaluation import LinearProbe
from bundle.evaluation.protocols.inputs import Vectors


def cohort(seed, n=40, dim=12, n_classes=3, strength=0.8):
    rng = np.random.default_rng(seed)
    targets = rng.permutation(np.arange(n) % n_classes)
    values = rng.normal(size=(n, dim)) * rng.uniform(0.1, 9, dim) + 5
    values[:, :n_classes] += strength * np.eye(n_classes)[targets]
    return values.astype(np.float32), targets


@pytest.mark.parametrize(("n", "dim"), [(40, 12), (24, 60)])
def test_it_equals_a_grid_search_of_scikit_learn(n, dim):
    """Penalty and probabilities equal those of pipeline and grid search in the full space, with few rows as well."""
    values, targets = cohort(3, n, dim)
    train, test = np.arange(n - 6), np.arange(n - 6, n)
    grid = [0.001, 0.01, 0.1, 1.0]
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000, tol=1e-8))
    folds = StratifiedKFold(5, shuffle=True, random_state=7)
    name = "logisticregression__C"
    search = GridSearchCV(pipeline, {name: grid}, scoring="neg_log_loss", cv=list(folds.split(train, targets[train])))
    search.fit(values[train].astype(np.float64), targets[train])
    inputs = Vectors(values)
    scores = LinearProbe(tuple(grid))(inputs.take(train), targets[train], inputs.take(test), 3, 7)
    np.testing.assert_allclose(scores, search.predict_proba(values[test].astype(np.float64)), atol=2e-3)


def test_a_class_with_one_patient_can_be_learned_from():
    """No inner fold is possible: the strongest penalty is taken."""
    values, targets = cohort(0, n=9, n_classes=2)
    targets = np.array([0] * 8 + [1])
    scores, strongest = (
        LinearProbe(penalties)(Vectors(values), targets, Vectors(values[:2]), 2, 0)
        for penalties in ((1.0, 0.01), (0.01,))
    )
    np.testing.assert_array_equal(scores, strongest)
