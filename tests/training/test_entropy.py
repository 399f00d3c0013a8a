"""Streamed cross-entropy."""

import pytest
import torch
from reference import unit_rows, units

from bundle.training import distillation
from bundle.training.losses import output_chunks


def _case(n_views=4, n_targets=3, n_regions=3, dim=8, n_outputs=50, dtype=torch.float64):
    student = units(n_views, n_regions, dim, dtype=dtype).requires_grad_()
    weight = torch.randn(n_outputs, dim, dtype=dtype).requires_grad_()
    targets, teacher_weight = units(n_targets, n_regions, dim, dtype=dtype), torch.randn(n_outputs, dim, dtype=dtype)
    centers = torch.randn(n_targets, n_outputs, dtype=dtype) * 0.1
    pairs = torch.rand(n_targets, n_views, n_regions, dtype=dtype)
    return student, weight, targets, teacher_weight, centers, pairs


def _at_once(student, weight, targets, teacher_weight, centers, pairs, student_temperature, teacher_temperature):
    """The same from all logits, by autograd."""
    guess = (student @ unit_rows(weight).T / student_temperature).log_softmax(-1)
    target = ((targets @ unit_rows(teacher_weight).T - centers[:, None]) / teacher_temperature).softmax(-1)
    loss = -(pairs[..., None] * target[:, None] * guess[None]).sum((1, 2, 3))
    return loss, -torch.xlogy(target, target).sum(-1)


def _gradients(function, case, temperatures, upstream):
    loss, target_entropy = function(*case, *temperatures)
    return loss, target_entropy, *torch.autograd.grad((loss * upstream).sum(), case[:2])


@pytest.mark.parametrize("kept", [0, 1 << 14, 1 << 25])
@pytest.mark.parametrize("chunk", [1 << 4, 1 << 10, 1 << 18])
@pytest.mark.parametrize("temperatures", [(0.1, 0.04), (1.0, 0.7), (0.003, 0.001)])
@pytest.mark.parametrize("n_regions", [0, 1, 3])
def test_streaming_changes_nothing(monkeypatch, chunk, kept, temperatures, n_regions):
    """Loss, entropy and gradients equal those from all logits at once, for any chunk, temperature and batch,
    whether none, some or all of the exponentials are kept for the gradient."""
    torch.manual_seed(0)
    monkeypatch.setitem(output_chunks.CHUNK_ELEMENTS, "cpu", chunk)
    monkeypatch.setitem(output_chunks.KEPT_BYTES, "cpu", kept)
    case = _case(n_regions=n_regions, n_outputs=150)
    upstream = torch.tensor([1.0, -0.5, 0.0], dtype=torch.float64)
    got = _gradients(distillation, case, temperatures, upstream)
    expected = _gradients(_at_once, case, temperatures, upstream)
    for value, truth in zip(got, expected, strict=True):
        torch.testing.assert_close(value, truth, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("amp", [False, True])
@pytest.mark.parametrize("n_regions", [1, 5])
def test_a_second_backward_pass_gives_the_same(monkeypatch, amp, n_regions):
    """What was kept lies where the first pass has written its gradient, and is made again."""
    torch.manual_seed(5)
    monkeypatch.setitem(output_chunks.CHUNK_ELEMENTS, "cpu", 1 << 10)
    monkeypatch.setitem(output_chunks.KEPT_BYTES, "cpu", 1 << 13)
    student, weight, *rest = _case(dtype=torch.float32, dim=32, n_outputs=700, n_regions=n_regions)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=amp):
        loss = distillation(student, weight, *rest, 0.1, 0.04).loss.sum()
    first, second = (torch.autograd.grad(loss, (student, weight), retain_graph=True) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert float((a - b).norm() / a.norm()) < (0.01 if amp else 1e-5)


@pytest.mark.parametrize("amp", [False, True])
@pytest.mark.parametrize("n_regions", [1, 2, 6, 40])
def test_what_waits_is_not_written_over(monkeypatch, amp, n_regions):
    """The gradient's rows for a chunk reach no exponentials of later chunks, and as many wait there as fit."""
    monkeypatch.setitem(output_chunks.CHUNK_ELEMENTS, "cpu", 1 << 12)
    monkeypatch.setitem(output_chunks.KEPT_BYTES, "cpu", 0)
    student, weight, targets, teacher_weight, centers, _ = _case(
        dtype=torch.float32, dim=24, n_outputs=1000, n_regions=n_regions
    )
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=amp):
        chunks = output_chunks.Chunks((student, weight, targets, teacher_weight, centers), (0.1, 0.04))
    shelf = output_chunks.Shelf(chunks, 24)
    start, itemsize = shelf.gradient.data_ptr(), chunks.product_dtype.itemsize
    for number, outputs in enumerate(chunks.ranges()):
        place = shelf.place(number, torch.Size((chunks.n_rows, outputs.stop - outputs.start)))
        if place is not None:
            assert outputs.start * 24 * 4 <= place.data_ptr() - start
            assert place.data_ptr() - start + place.numel() * itemsize <= shelf.gradient.numel() * 4
            shelf.kept.append(output_chunks.Kept(place, place))
    ends = [kept.exponentials.data_ptr() + kept.exponentials.numel() * itemsize for kept in shelf.kept]
    assert all(end <= kept.exponentials.data_ptr() for end, kept in zip(ends, shelf.kept[1:], strict=False))
    n_chunks, share = len(list(chunks.ranges())), 24 * 4 / (chunks.n_rows * itemsize)
    assert len(shelf.kept) >= min(n_chunks, int(share * n_chunks) - 1)
    assert share < 1 or len(shelf.kept) == n_chunks


def test_gradient_is_that_of_finite_differences():
    """torch's own numerical check agrees with the hand-written backward."""
    torch.manual_seed(1)
    student, weight, *rest = _case(n_views=2, n_targets=2, n_regions=2, dim=3, n_outputs=5)
    assert torch.autograd.gradcheck(
        lambda h, w: distillation(h, w, *rest, 0.5, 0.3).loss, (student, weight), nondet_tol=1e-12
    )


def test_frozen_weight_gets_no_gradient():
    """Without requires_grad on the weight its gradient is None, and the student's is unchanged."""
    torch.manual_seed(3)
    student, weight, *rest = _case()
    full = torch.autograd.grad(distillation(student, weight, *rest, 0.1, 0.04).loss.sum(), student)[0]
    frozen = weight.detach()
    distillation(student, frozen, *rest, 0.1, 0.04).loss.sum().backward()
    assert frozen.grad is None
    torch.testing.assert_close(student.grad, full)


def test_bfloat16_products_stay_close():
    """Under autocast loss and gradients stay within a percent of float32, and are float32."""
    torch.manual_seed(4)
    case = _case(dtype=torch.float32, dim=64, n_outputs=3000)
    truth = _gradients(distillation, case, (0.1, 0.04), torch.ones(3))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = _gradients(distillation, case, (0.1, 0.04), torch.ones(3))
    for value, expected in zip(got, truth, strict=True):
        assert value.dtype == torch.float32
        assert float((value - expected).detach().norm() / expected.detach().norm()) < 0.01


def test_shapes_that_do_not_fit_are_refused():
    """Wrong shapes and temperatures raise with what was found."""
    student, weight, targets, teacher_weight, centers, pairs = _case()
    with pytest.raises(ValueError, match="temperatures"):
        distillation(student, weight, targets, teacher_weight, centers, pairs, 0.0, 0.04)
    with pytest.raises(ValueError, match="share"):
        distillation(student, weight, targets[:, :2], teacher_weight, centers, pairs, 0.1, 0.04)
    with pytest.raises(ValueError, match="centers"):
        distillation(student, weight, targets, teacher_weight, centers[:2], pairs, 0.1, 0.04)
