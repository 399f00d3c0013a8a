"""Features of patients can be indexed by patient, whatever they are made of."""

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from bundle.evaluation.protocols.inputs import Bags, PrototypeSets, Vectors
from bundle.evaluation.protocols.standard import Standardizer

SIZES = np.array([3, 1, 4, 2])
VALUES = np.arange(20, dtype=np.float32).reshape(10, 2)


def test_taking_bags_takes_their_regions():
    """Rows in any order, and twice: the regions of each come along in their order."""
    bags = Bags(VALUES, SIZES).take(np.array([2, 0, 2]))
    np.testing.assert_array_equal(bags.sizes, [4, 3, 4])
    np.testing.assert_array_equal(bags.values[:, 0] / 2, [4, 5, 6, 7, 0, 1, 2, 4, 5, 6, 7])
    np.testing.assert_array_equal(bags.owner, [0] * 4 + [1] * 3 + [2] * 4)


@pytest.mark.parametrize(
    "inputs",
    [Vectors(VALUES[:4]), Bags(VALUES, SIZES), PrototypeSets(VALUES[:8].reshape(4, 2, 2), np.ones((4, 2), bool))],
    ids=lambda inputs: inputs.kind,
)
def test_taking_all_changes_nothing(inputs):
    """Every kind: taking every row gives equal arrays."""
    taken = inputs.take(np.arange(4))
    assert len(inputs) == len(taken) == 4
    for before, after in zip(inputs.arrays(), taken.arrays(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_standardizing_is_a_rotation_of_what_scikit_learn_does():
    """Inner products of rows, new ones included, equal those after scikit-learn's scaler; flat features vanish."""
    rng = np.random.default_rng(0)
    train, new = rng.normal(size=(9, 14)).astype(np.float32) * 5 + 2, rng.normal(size=(4, 14)).astype(np.float32)
    train[:, 3] = new[:, 3] = 0.1
    ours, theirs = Standardizer().fit(train), StandardScaler().fit(train.astype(np.float64))
    known, unknown = (theirs.transform(rows.astype(np.float64)) for rows in (train, new))
    np.testing.assert_allclose(ours.transform(train) @ ours.transform(train).T, known @ known.T, atol=1e-8)
    np.testing.assert_allclose(ours.transform(new) @ ours.transform(train).T, unknown @ known.T, atol=1e-8)
    assert ours.transform(train).shape == (9, 8), "as many axes as the rows span"
