"""Options of the objective that keep targets sharp, against slow restatements."""

import pytest
import reference
import torch
from reference import chosen, units

from bundle.prototypes import PrototypeChoices, PrototypeTargets
from bundle.training import SLPDLoss
from bundle.training.losses.koleo import koleo
from bundle.training.losses.sinkhorn import Sinkhorn

STUDENT, TEACHER = 0.1, 0.04
N_OUTPUTS, DIM = 40, 6


def _case(seed=0, n_regions=3, share_valid=0.7):
    """Student and teacher views, both last layers, prototypes of which some are missing."""
    torch.manual_seed(seed)
    student, teacher = units(4, n_regions, DIM).requires_grad_(), units(2, n_regions, DIM)
    weight, teacher_weight = (torch.randn(N_OUTPUTS, DIM, dtype=torch.float64) for _ in range(2))
    valid = torch.rand(3, n_regions) < share_valid
    valid[0, 0] = valid[1, 0] = True
    return student, weight.requires_grad_(), teacher, teacher_weight, PrototypeTargets(units(3, n_regions, DIM), valid)


def _loss(**options):
    loss = SLPDLoss(N_OUTPUTS, intra_weight=0.7, inter_weight=1.3, bottleneck_dim=DIM, **options).double()
    if loss.dino.balance is None:
        loss.dino.center.value.normal_(0, 0.1)
        loss.prototype.center.value.normal_(0, 0.1)
    return loss


def _slow(loss, case, centers, temperature, share=1.0, koleo_weight=0.0):
    """The objective by loops, for given centers of views and prototypes and a given temperature of prototypes."""
    student, weight, teacher, teacher_weight, (vectors, valid, _) = case
    terms = [reference.dino_loss(student, weight, teacher, teacher_weight, centers[0], STUDENT, TEACHER)]
    for part in (slice(0, 1), slice(1, None)):
        rows = (vectors[part], valid[part], teacher_weight, centers[1], STUDENT, temperature)
        terms.append(reference.prototype_loss(student, weight, *rows))
    total = terms[0] + share * (loss.intra_weight * terms[1] + loss.inter_weight * terms[2])
    if koleo_weight:
        total = total + koleo_weight * reference.koleo(student[: len(teacher)])
    return [*terms, total]


def _check(loss, case, terms):
    """Terms and gradients are the slow ones to 1e-10; gives what the loss returned."""
    got = loss(*case[:4], TEACHER, case[4])
    for name, truth in zip(("self", "intra", "inter", "loss"), terms, strict=True):
        torch.testing.assert_close(got[name], truth, rtol=1e-10, atol=1e-10, check_dtype=True)
    slow = torch.autograd.grad(terms[-1], case[:2])
    for value, truth in zip(torch.autograd.grad(got["loss"], case[:2]), slow, strict=True):
        torch.testing.assert_close(value, truth, rtol=1e-10, atol=1e-10)
    return got


def _balanced(batches, weight, temperature, n_iterations, n_queued=0):
    """Center by Sinkhorn and Knopp of the last batch and as many rows of those before as the queue holds."""
    before = [vector for batch in reversed(batches[:-1]) for vector in batch][:n_queued]
    return reference.sinkhorn_center([*batches[-1], *before], weight, temperature, n_iterations)


@pytest.mark.parametrize("n_iterations", [1, 3])
def test_sinkhorn_targets_are_the_published_ones(n_iterations):
    """Views and prototypes are each balanced over the outputs as SwAV does it; nothing is left to move."""
    case = _case()
    loss = _loss(centering="sinkhorn", sinkhorn_iterations=n_iterations)
    teacher, teacher_weight, prototypes = case[2:]
    used = [list(teacher.flatten(0, 1)), chosen(prototypes, range(3))]
    centers = [_balanced([rows], teacher_weight, TEACHER, n_iterations) for rows in used]
    got = _check(loss, case, _slow(loss, case, centers, TEACHER))
    loss.update_centers(teacher, teacher_weight, prototypes)
    again = loss(*case[:4], TEACHER, prototypes)
    assert torch.equal(got["loss"], again["loss"]) and loss.center_norms() == {}


def test_balanced_targets_use_all_outputs_alike():
    """After many iterations each output gets the same share of the views; the mean of the logits does not do that."""
    _, _, teacher, teacher_weight, _ = _case(n_regions=30)
    center = Sinkhorn(n_iterations=300).center(teacher, teacher_weight, TEACHER)
    rows = [reference.target_distribution(h, teacher_weight, center, TEACHER) for h in teacher.flatten(0, 1)]
    share = torch.stack(rows).mean(0) * N_OUTPUTS
    torch.testing.assert_close(share, torch.ones_like(share), rtol=1e-6, atol=1e-6)


def test_a_queue_holds_the_newest_targets_and_goes_on_after_a_resume():
    """Balance is over batch and queue; newest first, missing prototypes take no place; the state dict holds both."""
    loss, batches = _loss(centering="sinkhorn", sinkhorn_queue=7), [[], []]
    for seed in range(4):
        case = _case(seed, n_regions=2)
        teacher, teacher_weight, prototypes = case[2:]
        batches[0].append(list(teacher.transpose(0, 1).flatten(0, 1)))
        batches[1].append([prototypes.vectors[r, b] for b in range(2) for r in range(3) if prototypes.valid[r, b]])
        centers = [_balanced(kind, teacher_weight, TEACHER, 3, n_queued=7) for kind in batches]
        _check(loss, case, _slow(loss, case, centers, TEACHER))
        loss.update_centers(teacher, teacher_weight, prototypes)
        resumed = _loss(centering="sinkhorn", sinkhorn_queue=7)
        resumed.load_state_dict(loss.state_dict())
        loss = resumed
    assert int(loss.dino.balance.queued.sum()) == 7


def test_prototypes_may_have_a_temperature_of_their_own():
    """A number takes the place of the teacher's temperature in both prototype terms, and in these alone."""
    case, loss = _case(), _loss(prototype_temperature=0.025)
    centers = [loss.dino.center.value, loss.prototype.center.value]
    _check(loss, case, _slow(loss, case, centers, 0.025))


@pytest.mark.parametrize("centering", ["center", "sinkhorn"])
def test_a_matched_temperature_gives_prototypes_the_entropy_of_views(centering):
    """Bisection by numbers finds the same temperature; at it the targets are as sharp as the views are, on average."""
    case, loss = _case(n_regions=5), _loss(prototype_temperature="match", centering=centering)
    teacher, teacher_weight, prototypes = case[2:]
    views, used = list(teacher.flatten(0, 1)), chosen(prototypes, range(3))

    def center(rows, running, temperature):
        return running if centering == "center" else _balanced([rows], teacher_weight, temperature, 3)

    own = center(views, loss.dino.center.value, TEACHER)
    wanted = reference.mean_entropy(views, teacher_weight, own, TEACHER)
    low, high = TEACHER / 32, TEACHER * 32
    for _ in range(32):
        middle = (low * high) ** 0.5
        shared = center(used, loss.prototype.center.value, middle)
        is_below = reference.mean_entropy(used, teacher_weight, shared, middle) < wanted
        low, high = (middle, high) if is_below else (low, middle)
    temperature = (low * high) ** 0.5
    shared = center(used, loss.prototype.center.value, temperature)
    assert float(reference.mean_entropy(used, teacher_weight, shared, temperature)) == pytest.approx(float(wanted))
    got = _check(loss, case, _slow(loss, case, [own, shared], temperature))
    assert float(got["prototype_temperature"]) == pytest.approx(temperature, rel=1e-9)
    assert float(got["teacher_entropy"]) == pytest.approx(float(wanted))


def test_koleo_is_the_published_one():
    """Minus the mean log distance to the nearest other region of the view; the gradient reaches the neighbor, too."""
    case, loss = _case(n_regions=5), _loss(koleo_weight=0.3)
    centers = [loss.dino.center.value, loss.prototype.center.value]
    got = _check(loss, case, _slow(loss, case, centers, TEACHER, koleo_weight=0.3))
    torch.testing.assert_close(got["koleo"], reference.koleo(case[0][:2]).detach())


def test_koleo_of_what_has_no_neighbor_or_a_twin_is_finite():
    """One region gives 0; two alike a large number with a gradient that can be used."""
    assert float(koleo(units(2, 1, DIM))) == 0.0
    twins = units(1, 1, DIM).repeat(1, 2, 1).requires_grad_()
    value = koleo(twins)
    value.backward()
    assert 10 < float(value) < 20 and bool(twins.grad.isfinite().all())


def test_a_share_scales_both_prototype_terms():
    """What the ramp sets multiplies both weights; 0 leaves plain DINO, to the bit."""
    case, loss = _case(), _loss()
    centers = [loss.dino.center.value, loss.prototype.center.value]
    loss.prototype_share = 0.25
    _check(loss, case, _slow(loss, case, centers, TEACHER, share=0.25))
    loss.prototype_share = 0.0
    got = loss(*case[:4], TEACHER, case[4])
    assert float(got["loss"]) == float(got["self"]) and float(got["intra"]) > 0


def test_entropies_are_told_apart():
    """Mean entropy of the targets that views, own and neighbor prototypes are; without prototypes only the first."""
    case, loss = _case(), _loss()
    teacher, teacher_weight, prototypes = case[2:]
    got = loss(*case[:4], TEACHER, prototypes)
    rows = [list(teacher.flatten(0, 1)), chosen(prototypes, [0]), chosen(prototypes, [1, 2])]
    centers = [loss.dino.center.value] + [loss.prototype.center.value] * 2
    for name, vectors, center in zip(("teacher", "intra", "inter"), rows, centers, strict=True):
        truth = reference.mean_entropy(vectors, teacher_weight, center, TEACHER)
        torch.testing.assert_close(got[f"{name}_entropy"], truth, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(got["kl"], got["self"] - got["teacher_entropy"])
    assert float(got["kl"]) > 0
    assert "intra_entropy" not in loss(*case[:4], TEACHER)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"centering": "none"}, 'centering must be "center" or "sinkhorn"'),
        ({"centering": "sinkhorn", "center_update_per_loss": True}, "center_update_per_loss"),
        ({"centering": "sinkhorn", "sinkhorn_iterations": 0}, "sinkhorn_iterations is 0"),
        ({"prototype_temperature": 0.0}, "prototype_temperature"),
        ({"prototype_temperature": "matched"}, "prototype_temperature"),
        ({"koleo_weight": -1}, "koleo_weight is -1"),
        ({"prototype_task": "assigned"}, 'prototype_task must be "distill" or "assign"'),
        ({"prototype_task": "assign", "prototype_temperature": "match"}, "prototype_task: assign makes none"),
    ],
)
def test_a_setting_out_of_range_is_refused(options, message):
    """Each option says its own name."""
    with pytest.raises(ValueError, match=message):
        SLPDLoss(8, **options)
    with pytest.raises(ValueError, match="bottleneck_dim 0"):
        Sinkhorn(0, n_queued=3)


def _with_choices(case, n_prototypes=3, share_exists=0.6):
    """The case, with what each prototype was chosen from."""
    *rest, (vectors, valid, _) = case
    of_slide, number = units(*valid.shape, n_prototypes, DIM), torch.randint(n_prototypes, valid.shape)
    exists = (torch.rand(*valid.shape, n_prototypes) < share_exists).scatter_(-1, number[..., None], valid[..., None])
    return *rest, PrototypeTargets(vectors, valid, PrototypeChoices(of_slide, exists, number))


@pytest.mark.parametrize("skips", [False, True])
def test_assignment_tells_the_region_s_prototype_from_the_others_of_its_slide(skips):
    """Loops over views, regions and slides give the same terms and gradients, whatever is missing."""
    case, loss = _with_choices(_case(n_regions=5)), _loss(prototype_task="assign", skip_same_view_prototypes=skips)
    student, weight, teacher, teacher_weight, targets = case
    own = reference.dino_loss(student, weight, teacher, teacher_weight, loss.dino.center.value, STUDENT, TEACHER)
    terms = [reference.assignment_loss(student[int(skips) :], targets, rows, STUDENT) for rows in ([0], [1, 2])]
    before = loss.prototype.center.value.clone()
    got = _check(loss, case, [own, *terms, own + 0.7 * terms[0] + 1.3 * terms[1]])
    loss.update_centers(teacher, teacher_weight, targets)
    assert torch.equal(loss.prototype.center.value, before) and "intra_entropy" not in got


def test_assignment_of_nothing_is_nothing():
    """Without any prototype, or with one a slide, there is nothing to tell: terms of 0, no gradient of NaN."""
    for n_prototypes, share_valid in ((3, 0.0), (1, 1.0)):
        *rest, (vectors, valid, _) = _case()
        valid = valid & (share_valid > 0)
        choices = _with_choices((*rest, PrototypeTargets(vectors, valid)), n_prototypes, share_valid)[4]
        got = _loss(prototype_task="assign")(*rest, TEACHER, choices)
        assert float(got["intra"]) == float(got["inter"]) == 0.0
        assert float(got["loss"]) == float(got["self"])
        assert torch.autograd.grad(got["loss"], rest[0])[0].isfinite().all()
    with pytest.raises(ValueError, match="prototype_task"):
        _loss(prototype_task="assign")(*rest, TEACHER, PrototypeTargets(vectors, valid))
