"""Ten steps of the real trainer, with all its handlers, against the slow restatement of tests/reference_training.py."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from reference_training import Recipe, SlowTraining, is_decayed
from small_training import cohort, make_trainer, numbers_of

RECIPES = {
    "two-neighbors": Recipe(),
    "more-neighbors-than-slides": Recipe(
        n_neighbors=4, n_prototypes=2, drop_path=0.0, n_restarts=1, n_iterations=1, seed=6, kmeans_seed=8
    ),
}


def close(got, wanted, what):
    """Equal to 1e-10."""
    torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-10, msg=lambda text: f"{what}: {text}")


@pytest.fixture(scope="module", params=RECIPES.values(), ids=RECIPES)
def runs(request):
    """Ten steps of both: (recipe, [real], [slow]), of each step its terms, gradients and what it leaves behind."""
    recipe, batches = request.param, []
    tokens, slides = cohort(recipe.seed)
    with pytest.MonkeyPatch.context() as patch:
        # Crops, heads and norms of gradients are made `.float()`, to be no less than that; here they are more.
        patch.setattr(torch.Tensor, "float", torch.Tensor.double)
        trainer, raw, clipped, state = make_trainer(recipe, tokens, slides, batches)
        first = numbers_of(trainer.network)
        trainer.run()
    for step, gradients, kept in zip(state.steps, raw.steps, clipped.steps, strict=True):
        step.raw, step.clipped = gradients, kept
    training, slow = SlowTraining(first, tokens, slides, recipe), []
    for region_ids, views in batches:
        seen = training.step(region_ids, views)
        slow.append(
            SimpleNamespace(
                **seen,
                student=dict(training.student),
                teacher=dict(training.teacher),
                centers=[training.center, training.prototype_center],
                schedules=training.schedules,
                bank=training.bank,
            )
        )
    return recipe, state.steps, slow, batches


def steps_of(runs):
    return [(f"step {i}", fast, slow) for i, (fast, slow) in enumerate(zip(runs[1], runs[2], strict=True), 1)]


def close_all(got, wanted, what):
    """Dictionaries of tensors, or of None."""
    assert set(got) == set(wanted), what
    for name, value in wanted.items():
        if value is None or got[name] is None:
            assert value is got[name], f"{what}: {name} is frozen in one run alone"
        else:
            close(got[name], value, f"{what}: {name}")


def test_everything_takes_place(runs):
    """Ten steps in float64 with warm-ups, a frozen layer, gradients above and below the bound, the first clustering
    and two more that differ, slides with and without prototypes, unmatched prototypes: nothing is compared in vain."""
    recipe, fast, slow, batches = runs
    assert len(fast) == len(slow) == 10
    assert {value.dtype for step in fast for value in step.student.values()} == {torch.float64}
    assert all(view.dtype == torch.float64 for _, views in batches for view in views)
    assert [step.bank is not None for step in slow] == [False] * 4 + [True] * 6
    clusterings = [step.bank for step in slow[4::2]]
    wanted = [min(recipe.n_prototypes, n) for n in (8, 3, 0, 0, 2, 5)]
    assert all([len(own) for own in bank.prototypes] == wanted for bank in clusterings)
    first, second, third = (bank.prototypes[0] for bank in clusterings)
    assert not torch.allclose(first, second) and not torch.allclose(second, third)
    assert [step.clipped["last_layer.weight_v"] is None for step in slow] == [True] * 2 + [False] * 8
    scaled = [
        not torch.equal(step.raw[name], value)
        for step in slow
        for name, value in step.clipped.items()
        if value is not None
    ]
    assert 0.05 < sum(scaled) / len(scaled) < 0.95
    assert all(step.terms["intra"] > 0 and step.terms["inter"] > 0 for step in slow[4:])


def test_loss_terms_are_the_published_ones(runs):
    """Self-distillation, intra- and inter-slide terms and their sum in each step; no prototypes, no terms of theirs."""
    for name, fast, slow in steps_of(runs):
        close_all({term: fast.terms[term] for term in slow.terms}, slow.terms, name)


def test_gradients_are_the_published_ones(runs):
    """After backward, and again when the last layer is frozen and each tensor is clipped by itself."""
    for name, fast, slow in steps_of(runs):
        close_all(fast.raw, slow.raw, f"{name}, before clipping")
        close_all(fast.clipped, slow.clipped, f"{name}, after clipping")


def test_student_and_teacher_are_the_published_ones(runs):
    """All parameters after each step: AdamW by hand for one, the moving average for the other."""
    for name, fast, slow in steps_of(runs):
        close_all(fast.student, slow.student, f"{name}, student")
        close_all(fast.teacher, slow.teacher, f"{name}, teacher")


def test_both_centers_are_the_published_ones(runs):
    """The center of the views moves in each step, that of the prototypes from the first clustering on."""
    before = [torch.zeros(20).double()] * 2
    for i, (name, fast, slow) in enumerate(steps_of(runs)):
        for which, got, wanted, old in zip(("views", "prototypes"), fast.centers, slow.centers, before, strict=True):
            close(got, wanted, f"{name}, center of {which}")
            assert torch.equal(got, old) == (which == "prototypes" and i < 4)
        before = fast.centers


def test_the_optimizer_is_the_published_one(runs):
    """Biases and norms are in the group without decay, all else in the other; both follow the schedules."""
    for name, fast, slow in steps_of(runs):
        (decayed, lr, decay), (spared, other_lr, no_decay) = fast.groups
        assert decayed == {parameter for parameter in slow.raw if is_decayed(parameter)}, name
        assert spared == set(slow.raw) - decayed, name
        assert no_decay == 0.0
        found = {"lr": lr, "weight_decay": decay}
        close_all(_numbers(fast.schedules | found), _numbers(slow.schedules), name)
        close(torch.tensor(other_lr), torch.tensor(slow.schedules["lr"]), name)


def _numbers(values):
    return {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}


def test_prototypes_and_neighbors_are_the_published_ones(runs):
    """Which slides have prototypes, how many, their vectors; each region's; the neighbors, and what is matched."""
    for name, fast, slow in steps_of(runs):
        assert (fast.bank is None) == (slow.bank is None), name
        if slow.bank is None:
            continue
        assert fast.bank.assignment == slow.bank.assignment, name
        for slide, (got, wanted) in enumerate(zip(fast.bank.prototypes, slow.bank.prototypes, strict=True)):
            close(got, wanted, f"{name}, slide {slide}")
        for got, wanted in zip(fast.bank.neighbors, slow.bank.neighbors, strict=True):
            assert [entry[1:] for entry in got] == [entry[1:] for entry in wanted], name
            close(_row(got), _row(wanted), name)


def _row(neighbors):
    return torch.tensor([similarity for similarity, _, _ in neighbors], dtype=torch.float64)
