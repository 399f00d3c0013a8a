"""Proportional hazards on frozen features."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from ...core import BundleError, SettingError
from ...heads import Tensors
from .inputs import Vectors
from .standard import Standardizer

Floats = NDArray[np.float64]
_N_INNER_FOLDS = 5


class CoxRegression:
    """Cox's proportional hazards with a ridge penalty, on principal components of standardized features.

    The strength of the penalty is the one under which held-out training patients are most likely: an inner
    cross-validation of the partial likelihood [1], in which test patients take no part. Equal times as Breslow has
    them.

    Args:
        n_components: principal components at most; never more than half as many as there are training patients.
        penalties: strengths to choose from; the penalty is ``strength * events / 2 * |beta|^2``.

    Raises:
        SettingError: fewer than one component; no strength, or one that is not above 0.

    References:
        [1] Verweij, van Houwelingen, "Cross-validation in survival analysis", Statistics in Medicine 1993.
    """

    name: ClassVar[str] = "cox"
    tasks: ClassVar[tuple[str, ...]] = ("survival",)
    takes: ClassVar[tuple[str, ...]] = (Vectors.kind,)

    def __init__(self, n_components: int = 32, penalties: tuple[float, ...] = (0.01, 0.1, 1.0, 10.0)) -> None:
        self.n_components = int(n_components)
        self.penalties = sorted((float(penalty) for penalty in penalties), reverse=True)
        if self.n_components < 1 or not self.penalties or self.penalties[-1] <= 0:
            raise SettingError(
                f"Cox regression with n_components={n_components} and penalties={penalties!r}; give at least one "
                "component and penalties above 0."
            )

    def __call__(self, train: Vectors, targets: Floats, test: Vectors, n_classes: int, seed: int) -> Floats:
        """Log hazard of each test patient against the mean training patient, see :class:`SlideProtocol`.

        Raises:
            BundleError: no event among the training patients, after which nobody else was still watched.
        """
        standard, beta = self._fitted(train, targets, seed)
        return (standard.transform(test.values) @ beta)[:, None]

    def learn(self, train: Vectors, targets: Floats, n_classes: int, seed: int) -> Tensors:
        """What a head keeps of a regression on these patients; arguments as for a call."""
        standard, beta = self._fitted(train, targets, seed)
        return {"mean": standard.mean, "weight": (beta @ standard.axes / standard.scale)[None], "bias": np.zeros(1)}

    def _fitted(self, train: Vectors, targets: Floats, seed: int) -> tuple[Standardizer, Floats]:
        targets = np.asarray(targets, np.float64)
        check_informative(targets, "Cox regression")
        n_components = max(1, min(self.n_components, len(train) // 2))
        standard = Standardizer(n_components).fit(train.values)
        strength = self._strength(train.values, targets, n_components, seed)
        return standard, fit_cox(standard.transform(train.values), targets, strength)

    def _strength(self, values: NDArray[np.float32], targets: Floats, n_components: int, seed: int) -> float:
        """The strength of the highest cross-validated partial likelihood; of equal ones the strongest."""
        fold = np.empty(len(values), np.int64)
        by_event = np.argsort(np.random.default_rng(seed).permutation(len(values)) + len(values) * targets[:, 1])
        fold[by_event] = np.arange(len(values)) % min(_N_INNER_FOLDS, len(values))
        likely = np.zeros(len(self.penalties))
        for held_out in np.unique(fold):
            learned = fold != held_out
            if not _is_informative(targets[learned]):
                return self.penalties[0]
            everybody = Standardizer(n_components).fit(values[learned]).transform(values)
            for i, strength in enumerate(self.penalties):
                beta = fit_cox(everybody[learned], targets[learned], strength)
                likely[i] += log_partial_likelihood(everybody @ beta, targets)[0]
                likely[i] -= log_partial_likelihood(everybody[learned] @ beta, targets[learned])[0]
        return self.penalties[int(np.argmax(likely))]


def fit_cox(x: Floats, targets: Floats, strength: float) -> Floats:
    """Coefficients [p] of the largest penalized partial likelihood; it is concave, so there is one such point.

    Args:
        x: covariates [n, p].
        targets: time and event [n, 2].
        strength: of the penalty ``strength * events / 2 * |beta|^2``, above 0.
    """
    weight = strength * max(1.0, float((targets[:, 1] > 0).sum()))

    def objective(beta: Floats) -> tuple[float, Floats]:
        value, gradient = log_partial_likelihood(x @ beta, targets)
        return weight / 2 * float(beta @ beta) - value, weight * beta - x.T @ gradient

    return minimize(objective, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 500}).x


def log_partial_likelihood(risk: Floats, targets: Floats) -> tuple[float, Floats]:
    """Cox's log partial likelihood of log hazards [n], and its gradient [n].

    ``sum over events i of risk_i - log sum over j still watched at t_i of exp(risk_j)``, equal times as Breslow has
    them.
    """
    order = np.argsort(-targets[:, 0], kind="stable")
    time, event, eta = targets[order, 0], targets[order, 1] > 0, risk[order]
    last = np.searchsorted(-time, -time, side="right") - 1  # of those still watched at one's own time
    at_risk = np.logaddexp.accumulate(eta)[last]
    value = float((eta[event] - at_risk[event]).sum())
    # j is watched at the times of all events that come at its own time or before
    first = np.searchsorted(-time, -time, side="left")
    passed = np.logaddexp.accumulate(np.where(event, -at_risk, -np.inf)[::-1])[::-1][first]
    gradient = np.empty_like(eta)
    gradient[order] = event - np.exp(eta + passed)
    return value, gradient


def check_informative(targets: Floats, who: str) -> None:
    """Make sure that times and events [n, 2] have an order to learn.

    Raises:
        BundleError: nobody had an event while another patient was still watched.
    """
    if not _is_informative(targets):
        raise BundleError(
            f"{who}: none of {len(targets)} training patients had an event while another was still watched, so there "
            "is no order to learn; use larger train_fractions, fewer folds, or more follow-up."
        )


def _is_informative(targets: Floats) -> bool:
    """Whether somebody had an event while another patient was watched longer."""
    events = targets[targets[:, 1] > 0, 0]
    return len(events) > 0 and bool(events.min() < targets[:, 0].max())
