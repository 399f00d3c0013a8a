"""Attention MIL for survival: the likelihood is Cox's, and patients come into their order."""

import numpy as np
import pytest
import torch
from made_tokens import MadeTokens
from plain_metrics import c_index

from bundle.evaluation import SurvivalMIL
from bundle.evaluation.protocols.cox import log_partial_likelihood
from bundle.evaluation.protocols.inputs import Bags, TokenBags
from bundle.evaluation.protocols.mil_survival import partial_likelihood_loss


def test_the_loss_and_its_gradient_are_those_of_cox_regression():
    """In float64 to 1e-10, equal times and censored patients included; Cox regression is held to the definition."""
    generator = torch.Generator().manual_seed(0)
    time, event = torch.randint(0, 8, (20,), generator=generator), torch.arange(20) % 3 > 0
    risk = (2 * torch.randn(20, dtype=torch.float64, generator=generator)).requires_grad_()
    value = partial_likelihood_loss(risk, time, event)
    value.backward()
    likelihood = log_partial_likelihood(risk.detach().numpy(), torch.stack([time, event], 1).double().numpy())
    for ours, theirs in zip((value.detach(), risk.grad), likelihood, strict=True):
        np.testing.assert_allclose(ours * int(event.sum()), -theirs, atol=1e-10)


def test_hazards_far_apart_and_steps_without_an_event_stay_finite():
    """Log hazards 2,000 apart overflow in no exponential; where nobody had the event nothing is learned."""
    risk = torch.tensor([1000.0, -1000.0], requires_grad=True)
    assert partial_likelihood_loss(risk, torch.tensor([2, 1]), torch.tensor([True, True])) == 1000.0
    value = partial_likelihood_loss(risk, torch.tensor([2, 1]), torch.tensor([False, False]))
    value.backward()
    assert value == 0 and not risk.grad.any()


def cohort(n=160, seed=0):
    """One region of each patient lies elsewhere, and says its hazard; a third is censored."""
    rng = np.random.default_rng(seed)
    hazard, sizes = rng.normal(size=n), rng.integers(4, 20, n)
    shift = np.zeros((sizes.sum(), 8))
    shift[np.cumsum(sizes) - 1, :2] = np.stack([np.full(n, 6), 3 * hazard], 1)
    died, watched = rng.weibull(3, n) * np.exp(-1.5 * hazard), 2 * rng.exponential(1, n)
    return shift, sizes, np.stack([np.minimum(died, watched), died <= watched], 1).astype(float)


@pytest.mark.parametrize("kind", ["bags", "token_bags"])
def test_it_orders_patients_by_planted_hazard(kind):
    """c-index of test patients above 0.8, of regions and of tokens on disk; around 0.5 with shuffled outcomes."""
    shift, sizes, targets = cohort()
    if kind == "bags":
        bags = Bags((shift + np.random.default_rng(1).normal(size=shift.shape)).astype(np.float32), sizes)
    else:
        source = MadeTokens(len(shift), shift=shift, largest=4)
        bags = TokenBags(source, np.split(np.arange(len(shift)), np.cumsum(sizes)[:-1]))
    train, test = np.arange(110), np.arange(110, 160)
    mil = SurvivalMIL(max_patches=60)
    risk = mil(bags.take(train), targets[train], bags.take(test), 0, 0)
    assert risk.shape == (50, 1) and c_index(*targets[test].T, risk[:, 0]) > 0.8
    if kind == "bags":
        shuffled = targets[np.random.default_rng(0).permutation(110)]
        assert 0.35 < c_index(*targets[test].T, mil(bags.take(train), shuffled, bags.take(test), 0, 0)[:, 0]) < 0.65
