"""Cox regression: likelihood, gradient and optimum as the equation has them."""

import numpy as np
import pytest
from plain_metrics import c_index
from scipy.optimize import minimize

from bundle.evaluation import CoxRegression
from bundle.evaluation.protocols.cox import fit_cox, log_partial_likelihood
from bundle.evaluation.protocols.inputs import Vectors


def cohort(n, dim, seed=0, rounded=True):
    """Hazards that grow with the first feature; a third is censored, and times are rounded so that many are equal."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, dim))
    died, watched = rng.exponential(20 * np.exp(-1.2 * x[:, 0])), rng.exponential(40, n)
    time = np.minimum(died, watched)
    time = np.ceil(time / 3) if rounded else time
    return x, np.stack([time, died <= watched], 1).astype(float)


def slow_likelihood(risk, targets):
    """The definition: for every event, its hazard among those still watched."""
    value = 0.0
    for i, (time, event) in enumerate(targets):
        if event:
            value += risk[i] - np.log(sum(np.exp(risk[j]) for j in range(len(risk)) if targets[j, 0] >= time))
    return value


@pytest.mark.parametrize("rounded", [False, True])
def test_likelihood_and_gradient_equal_the_double_loop(rounded):
    """Value by the definition, gradient by central differences; equal times included."""
    x, targets = cohort(30, 1, rounded=rounded)
    risk = x[:, 0]
    value, gradient = log_partial_likelihood(risk, targets)
    assert value == pytest.approx(slow_likelihood(risk, targets), abs=1e-10)
    for i in range(30):
        step = 1e-5 * np.eye(30)[i]
        slope = (slow_likelihood(risk + step, targets) - slow_likelihood(risk - step, targets)) / 2e-5
        assert gradient[i] == pytest.approx(slope, abs=1e-6)


def test_hazards_far_apart_stay_finite():
    """Log hazards 2,000 apart underflow in no exponential."""
    value, gradient = log_partial_likelihood(np.array([-1000.0, 1000.0, 0.0]), np.array([[3.0, 1], [1, 1], [2, 1]]))
    assert value == pytest.approx(0.0) and np.isfinite(gradient).all()
    wrong, _ = log_partial_likelihood(np.array([1000.0, -1000.0]), np.array([[2.0, 1], [1, 1]]))
    assert wrong == pytest.approx(-2000.0)


def test_the_fit_is_the_optimum():
    """Coefficients equal those of a search without gradients over the slow likelihood with its penalty."""
    x, targets = cohort(25, 2)
    n_events = targets[:, 1].sum()

    def objective(beta):
        return 0.1 * n_events / 2 * beta @ beta - slow_likelihood(x @ beta, targets)

    expected = minimize(objective, np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-10}).x
    np.testing.assert_allclose(fit_cox(x, targets, 0.1), expected, atol=1e-4)


def test_it_orders_patients_by_planted_hazard():
    """c-index of test patients, mean of four cohorts: above 0.7 with signal, around 0.5 with shuffled outcomes."""
    found = []
    for seed in range(4):
        x, targets = cohort(160, 10, seed)
        train, test, inputs = np.arange(110), np.arange(110, 160), Vectors(x.astype(np.float32))
        shuffled = targets[np.random.default_rng(seed).permutation(110)]
        for outcomes in (targets[train], shuffled):
            risk = CoxRegression()(inputs.take(train), outcomes, inputs.take(test), 0, seed)
            assert risk.shape == (50, 1)
            found.append(c_index(*targets[test].T, risk[:, 0]))
    assert np.mean(found[::2]) > 0.7
    assert 0.4 < np.mean(found[1::2]) < 0.6


def test_one_event_is_enough_to_run():
    """The strongest penalty is taken where inner folds have no event."""
    inputs = Vectors(np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32))
    targets = np.array([[1, 1], [2, 0], [3, 0], [4, 0], [5, 0], [6, 0]], float)
    risk = CoxRegression()(inputs, targets, inputs, 0, 0)
    assert np.isfinite(risk).all() and risk.argmax() == 0
