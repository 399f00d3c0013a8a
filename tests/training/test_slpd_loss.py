"""The objective against the papers' loops."""

import pytest
import reference
import torch
from reference import units

from bundle.prototypes import PrototypeTargets
from bundle.training import SLPDLoss

STUDENT_TEMPERATURE, TEACHER_TEMPERATURE = 0.1, 0.04
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}


def _case(n_teacher=2, n_student=4, n_regions=3, n_rows=2, share_valid=1.0, dtype=torch.float64):
    torch.manual_seed(n_teacher + 10 * n_student + 100 * n_regions)
    student = units(n_student, n_regions, 6, dtype=dtype).requires_grad_()
    weight, teacher_weight = torch.randn(40, 6, dtype=dtype).requires_grad_(), torch.randn(40, 6, dtype=dtype)
    teacher, vectors = units(n_teacher, n_regions, 6, dtype=dtype), units(n_rows, n_regions, 6, dtype=dtype)
    prototypes = PrototypeTargets(vectors, torch.rand(n_rows, n_regions) < share_valid)
    return student, weight, teacher, teacher_weight, prototypes


def _loss(dtype=torch.float64, **options):
    loss = SLPDLoss(40, student_temperature=STUDENT_TEMPERATURE, **options).to(dtype)
    loss.dino.center.value.normal_(0, 0.1)
    loss.prototype.center.value.normal_(0, 0.1)
    return loss


def _slow(loss, student, weight, teacher, teacher_weight, prototypes, dtype=torch.float64):
    """Self, intra and inter by the loops of tests/reference.py, in float64."""
    temperatures = (STUDENT_TEMPERATURE, TEACHER_TEMPERATURE)
    double = [x.to(dtype) for x in (student, weight, teacher, teacher_weight)]
    student, weight, teacher, teacher_weight = double
    own, center = loss.dino.center.value.to(dtype), loss.prototype.center.value.to(dtype)
    terms = [reference.dino_loss(student, weight, teacher, teacher_weight, own, *temperatures)]
    skip, vectors, valid = loss.prototype.skip_same_view, prototypes.vectors.to(dtype), prototypes.valid
    for rows in (slice(0, 1), slice(1, None)):
        if rows.start == 1 and loss.prototype.update_per_loss:
            used = [vectors[0, b] for b in range(vectors.shape[1]) if valid[0, b]]
            center = reference.updated_center(center, used, teacher_weight)
        part = (vectors[rows], valid[rows], teacher_weight, center)
        terms.append(reference.prototype_loss(student, weight, *part, *temperatures, skip_first_view=skip))
    return terms


def _check(loss, case, dtype=torch.float64):
    student, weight, teacher, teacher_weight, prototypes = case
    got = loss(student, weight, teacher, teacher_weight, TEACHER_TEMPERATURE, prototypes)
    terms = _slow(loss, *case)
    total = terms[0] + loss.intra_weight * terms[1] + loss.inter_weight * terms[2]
    tolerance = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype]}
    for name, truth in zip(("self", "intra", "inter", "loss"), (*terms, total), strict=True):
        torch.testing.assert_close(
            got[name].double(), truth, msg=lambda text, name=name: f"{name}: {text}", **tolerance
        )
        assert got[name].requires_grad == (name == "loss")
    gradients = torch.autograd.grad(got["loss"], (student, weight))
    for value, truth in zip(gradients, torch.autograd.grad(total, (student, weight)), strict=True):
        torch.testing.assert_close(value, truth, **tolerance)
    return got


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    "shape",
    [
        {"n_teacher": 2, "n_student": 10},
        {"n_teacher": 2, "n_student": 2},
        {"n_teacher": 1, "n_student": 3},
        {"n_teacher": 2, "n_student": 1},
        {"n_teacher": 3, "n_student": 2},
        {"n_regions": 1},
        {"n_rows": 4, "share_valid": 0.5},
        {"n_rows": 3, "share_valid": 0.0},
        {"n_rows": 1},
    ],
    ids=str,
)
def test_loss_equals_the_papers(shape, dtype):
    """Values and gradients are the loops', with and without local views, neighbors and valid prototypes."""
    _check(_loss(dtype, intra_weight=0.7, inter_weight=1.3), _case(**shape, dtype=dtype), dtype)


@pytest.mark.parametrize("option", ["skip_same_view_prototypes", "center_update_per_loss"])
def test_departures_of_the_authors_implementation_can_be_chosen(option):
    """Each option equals its own loop, and differs from the paper."""
    torch.manual_seed(0)
    loss, case = _loss(**{option: True}), _case(n_rows=3, share_valid=0.8)
    case[4].valid[0, 0] = True
    got = _check(loss, case)
    plain = _loss()
    plain.load_state_dict(loss.state_dict())
    paper = plain(*case[:4], TEACHER_TEMPERATURE, case[4])
    assert abs(float(got["inter"].detach() - paper["inter"])) > 1e-6


def test_no_prototypes_leave_plain_dino():
    """None gives the self-distillation loss alone, and so do prototypes of which none is valid; nothing is NaN."""
    *case, prototypes = _case()
    nothing = PrototypeTargets(torch.full_like(prototypes.vectors, torch.nan), torch.zeros_like(prototypes.valid))
    loss = _loss()
    alone, empty = (loss(*case, TEACHER_TEMPERATURE, targets) for targets in (None, nothing))
    assert float(alone["intra"]) == float(alone["inter"]) == float(empty["intra"]) == float(empty["inter"]) == 0.0
    torch.testing.assert_close(alone["loss"], empty["loss"])
    torch.testing.assert_close(alone["loss"].detach(), alone["self"])
    assert all(bool(g.isfinite().all()) for g in torch.autograd.grad(empty["loss"], case[:2]))


def test_nothing_to_compare_is_refused():
    """One teacher view and one student view, or one student view with the skip, raise and say what to do."""
    student, weight, teacher, teacher_weight, _ = _case(n_teacher=1, n_student=1)
    with pytest.raises(ValueError, match="no pair of views left"):
        _loss()(student, weight, teacher, teacher_weight, 0.04)
    with pytest.raises(ValueError, match="no student view left"):
        _loss(skip_same_view_prototypes=True)(*_case(n_student=1)[:4], 0.04, _case(n_student=1)[4])
    with pytest.raises(ValueError, match="inter_weight"):
        SLPDLoss(40, inter_weight=-1.0)


def test_bfloat16_bottlenecks_are_summed_in_float32():
    """Under autocast, with bfloat16 bottlenecks of more regions than bfloat16 counts, the loss is float32 and close."""
    student, weight, teacher, teacher_weight, prototypes = _case(n_regions=301, dtype=torch.float32)
    loss = _loss(torch.float32)
    truth = loss(student, weight, teacher, teacher_weight, TEACHER_TEMPERATURE, prototypes)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = (student.bfloat16(), weight, teacher.bfloat16(), teacher_weight, TEACHER_TEMPERATURE, prototypes)
        got = loss(*low)
    for name, value in got.items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value.detach(), truth[name].detach(), rtol=0.02, atol=0.02)
