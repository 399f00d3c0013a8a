"""Whole steps of training on grids with gaps: losses, gradients, weights, prototypes, whatever stands in the gaps."""

import pytest
import torch
from reference_training import Recipe
from small_training import SIDE, cohort, make_trainer
from tiny_training import differences

RECIPE = Recipe()


def _cohort():
    """The tokens, the slides, and what is there: half of the tokens, of one region none at all, of one a single one."""
    tokens, slides = cohort(RECIPE.seed)
    present = torch.rand(len(tokens), SIDE, SIDE, generator=torch.Generator().manual_seed(1)) < 0.5
    present[0], present[9] = False, False
    present[9, 0, 3] = True
    return tokens.float(), slides, present


def _run(value, present, tokens, slides):
    """Ten steps with ``value`` where nothing is."""
    batches = []
    filled = torch.where(present[..., None], tokens, torch.full_like(tokens, value))
    trainer, raw, _, state = make_trainer(RECIPE, filled, slides, batches, present)
    for part in (trainer.network, trainer.teacher, trainer.loss_function):
        part.float()
    trainer.run()
    return raw.steps, state.steps, batches


def _left_behind(step):
    """By a step; of clusters the regions and vectors."""
    bank = step.bank and (step.bank.assignment, step.bank.prototypes)
    return step.terms, step.student, step.teacher, step.centers, bank


@pytest.fixture(scope="module")
def plain():
    """Ten steps with zeros where nothing is."""
    tokens, slides, present = _cohort()
    return _run(0.0, present, tokens, slides)


@pytest.mark.parametrize("value", [float("nan"), 1e4])
def test_what_stands_in_the_gaps_changes_no_step(value, plain):
    """To the bit: ten steps with re-clustering and neighbors."""
    tokens, slides, present = _cohort()
    gradients, steps, batches = _run(value, present, tokens, slides)
    assert any((~mask).any() for mask in present) and len(steps) == 10 and steps[-1].bank is not None
    assert differences(gradients, plain[0]) == []
    assert differences(*([_left_behind(step) for step in each] for each in (steps, plain[1]))) == []
    strange = [float(view.nan_to_num(1e4).max()) for _, views in batches for view in views]
    assert max(strange) >= 1e4, "no view held a gap, nothing was tested"


def test_without_masks_it_would(plain):
    """The same grids, not masked: other losses from the first step on."""
    tokens, slides, present = _cohort()
    _, steps, _ = _run(1e4, torch.ones_like(present), torch.where(present[..., None], tokens, 1e4), slides)
    assert float(steps[0].terms["loss"]) != float(plain[1][0].terms["loss"])
