"""Attention MIL for survival: the likelihood is Cox's, and patients come into their order."""

import numpy as np
import pytest
import torch
from made_tokens import MadeTokens
from plain_metrics import c_index

from bundle.core import BundleError
from bundle.evaluation import SurvivalMIL
from bundle.evaluation.protocols.cox import log_partial_likelihood
from bundle.evaluation.protocols.inputs import Bags, TokenBags
from bundle.evaluation.protocols.mil_survival import partial_likelihood_loss


def slow_loss(risk, time, event):
    """The definition: for every event, its hazard among those still watched."""
    total, hazards = risk.new_zeros(()), torch.exp(risk)
    for i in range(len(risk)):
        if event[i]:
            total = total - torch.log(hazards[i] / sum(hazards[j] for j in range(len(risk)) if time[j] >= time[i]))
    return total / int(event.sum())


def test_the_loss_and_its_gradient_equal_the_definition():
    """In float64 to 1e-10, equal times and censored patients included; the value is that of Cox regression."""
    generator = torch.Generator().manual_seed(0)
    time, event = torch.randint(0, 8, (20,), generator=generator), torch.arange(20) % 3 > 0
    start = 2 * torch.randn(20, dtype=torch.float64, generator=generator)
    found = []
    for loss in (partial_likelihood_loss, slow_loss):
        risk = start.clone().requires_grad_()
        value = loss(risk, time, event)
        value.backward()
        found.append((value.detach(), risk.grad))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=0)
    targets = torch.stack([time.double(), event.double()], 1).numpy()
    of_cox = -log_partial_likelihood(start.numpy(), targets)[0] / int(event.sum())
    assert found[0][0].item() == pytest.approx(of_cox, abs=1e-10)


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


def test_without_an_order_there_is_nothing_to_learn():
    """No event, or only events when nobody else was watched any more: an error that says what to do."""
    bags = Bags(np.ones((4, 3), np.float32), np.ones(4, np.int64))
    for targets in ([[1, 0], [2, 0], [3, 0], [4, 0]], [[1, 0], [2, 0], [3, 0], [4, 1]]):
        with pytest.raises(BundleError, match="MIL for survival.*train_fractions"):
            SurvivalMIL()(bags, np.array(targets, float), bags, 0, 0)
