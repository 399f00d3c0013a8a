"""Whole steps of training on grids with gaps: losses, gradients, weights, prototypes, whatever stands in the gaps."""

import pytest
import torch
from reference_training import Recipe
from small_training import SIDE, cohort, make_trainer

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
    for got, expected in zip(gradients, plain[0], strict=True):
        for name, gradient in expected.items():
            assert gradient is got[name] is None or torch.equal(got[name], gradient), name
    for got, expected in zip(steps, plain[1], strict=True):
        assert {k: float(v) for k, v in got.terms.items()} == {k: float(v) for k, v in expected.terms.items()}
        for part in ("student", "teacher"):
            assert all(torch.equal(getattr(got, part)[k], v) for k, v in getattr(expected, part).items())
        assert all(torch.equal(*pair) for pair in zip(got.centers, expected.centers, strict=True))
        assert (got.bank is None) == (expected.bank is None)
        if got.bank is not None:
            assert got.bank.assignment == expected.bank.assignment
            assert all(torch.equal(*pair) for pair in zip(got.bank.prototypes, expected.bank.prototypes, strict=True))
    strange = [float(view.nan_to_num(1e4).max()) for _, views in batches for view in views]
    assert max(strange) >= 1e4, "no view held a gap, nothing was tested"


def test_without_masks_it_would(plain):
    """The same grids, not masked: other losses from the first step on."""
    tokens, slides, present = _cohort()
    _, steps, _ = _run(1e4, torch.ones_like(present), torch.where(present[..., None], tokens, 1e4), slides)
    assert float(steps[0].terms["loss"]) != float(plain[1][0].terms["loss"])
