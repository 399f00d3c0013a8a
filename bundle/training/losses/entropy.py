"""Cross-entropy of many student views with few target distributions, streamed over the output dimension."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .fused_softmax import fuses
from .output_chunks import Chunks, Kept, RunningSoftmax, Shelf


class Distillation(NamedTuple):
    """What :func:`distillation` returns, in nats.

    Attributes:
        loss: weighted sum of cross-entropies for each target row, shape (T,); carries the gradient.
        target_entropy: entropy of each target distribution, shape (T, B); no gradient.
    """

    loss: Tensor
    target_entropy: Tensor


def distillation(
    student: Tensor,
    student_weight: Tensor,
    targets: Tensor,
    teacher_weight: Tensor,
    centers: Tensor,
    pair_weight: Tensor,
    student_temperature: float,
    teacher_temperature: float | Tensor,
) -> Distillation:
    """Pull student bottlenecks to the distributions that the teacher's last layer gives for target bottlenecks.

    ``loss[t] = sum_{s,b} pair_weight[t,s,b] * H(q[t,b], p[s,b])`` with ``q = softmax((W_teacher target - center) /
    teacher_temperature)``, ``p = softmax(W_student student / student_temperature)``, ``H(q, p) = -sum_k q_k log p_k``,
    rows of both W scaled to unit length.

    H is linear in log p, so ``H(q, p) = logsumexp(z) - (W_student^T q) . student / student_temperature``: pairs meet
    in the d bottleneck dimensions, never in the K outputs. Logits exist only in chunks of outputs. Their exponentials
    wait for the backward pass where the weight's gradient will be, and in 24 MiB more (1 GiB on a GPU); what does not
    fit is made again. Memory beyond the weight's gradient is bounded, for any number of views and regions.

    Under autocast to bfloat16 the matrix products run in bfloat16, sums and exponentials in float32. Gradients flow to
    ``student`` and ``student_weight`` only.

    Args:
        student: bottlenecks of S views of B regions, shape (S, B, d).
        student_weight: last layer of the student, shape (K, d). Only the directions of its rows count: they are
            normalized chunk by chunk, and the gradient is that of the weight as it is given.
        targets: bottlenecks (or prototypes) that become distributions, shape (T, B, d), all finite.
        teacher_weight: last layer of the teacher, shape (K, d), taken in the same way.
        centers: what is taken from the targets' logits, shape (T, K).
        pair_weight: weight of each pair, shape (T, S, B); 0 leaves a pair out.
        student_temperature: above 0.
        teacher_temperature: above 0; a scalar tensor on the device is not looked at.

    Raises:
        ValueError: shapes that do not fit, or a temperature that is not positive.

    References:
        Caron et al., ICCV 2021, eq. 1-3; the running softmax is Milakov and Gimelshein, arXiv 1805.02867.
    """
    if any(not isinstance(value, Tensor) and value <= 0 for value in (student_temperature, teacher_temperature)):
        raise ValueError(f"temperatures must be above 0: got {student_temperature} and {teacher_temperature}.")
    n_targets, (n_views, n_regions, _) = len(targets), student.shape
    n_outputs = student_weight.shape[0]
    if targets.shape[1:] != student.shape[1:] or teacher_weight.shape != student_weight.shape:
        raise ValueError(
            f"student {tuple(student.shape)} and targets {tuple(targets.shape)} must share (B, d), weights "
            f"{tuple(student_weight.shape)} and {tuple(teacher_weight.shape)} must share (K, d)."
        )
    if pair_weight.shape != (n_targets, n_views, n_regions) or centers.shape != (n_targets, n_outputs):
        raise ValueError(
            f"pair_weight must be {(n_targets, n_views, n_regions)} and centers {(n_targets, n_outputs)}: got "
            f"{tuple(pair_weight.shape)} and {tuple(centers.shape)}."
        )
    tensors = (student, student_weight, targets, teacher_weight, centers, pair_weight)
    loss, entropy = _Distillation.apply(*tensors, student_temperature, teacher_temperature)
    return Distillation(loss, entropy)


class _Distillation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor]:
        student, student_weight, targets, teacher_weight, centers, pair_weight, *temperatures = inputs
        chunks = Chunks((student, student_weight, targets, teacher_weight, centers), tuple(temperatures))
        with torch.autocast(student.device.type, enabled=False):
            shelf = Shelf(chunks, student.shape[2]) if any(ctx.needs_input_grad[:2]) else None
            norms, pulled, entropy = _forward_pass(chunks, shelf)
            pulled = pulled.view(targets.shape) / temperatures[0]
            weight = pair_weight.to(chunks.sum_dtype)
            gathered = torch.einsum("tsb,sbd->tbd", weight, student.to(chunks.sum_dtype))
            total = torch.einsum("tsb,sb->t", weight, norms[: chunks.n_guesses].view(student.shape[:2]))
            loss = total - (gathered * pulled).sum((1, 2))
        ctx.save_for_backward(student, student_weight, targets, teacher_weight, weight, pulled)
        ctx.chunks, ctx.norms, ctx.shelf, ctx.temperature = chunks, norms, shelf, temperatures[0]
        entropy = entropy.view(targets.shape[:2])
        ctx.mark_non_differentiable(entropy)
        return loss, entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        student, student_weight, _, _, weight, pulled = ctx.saved_tensors
        with torch.autocast(student.device.type, enabled=False):
            weight = weight * (grad_loss / ctx.temperature)[:, None, None]
            rows = student.to(weight.dtype)
            scaled_rows = (weight.sum(0)[..., None] * rows).flatten(0, 1)
            gathered = torch.einsum("tsb,sbd->tbd", weight, rows).flatten(0, 1)
            shelf = ctx.shelf or Shelf(ctx.chunks, rows.shape[2])
            ctx.shelf = None  # it is used up: another backward pass makes all exponentials again
            grad_student, grad_weight = _backward_pass(
                ctx.chunks,
                ctx.norms,
                shelf,
                torch.cat([scaled_rows, -gathered]),
                needs=(ctx.needs_input_grad[0], ctx.needs_input_grad[1]),
            )
            del shelf  # who else holds a gradient makes autograd copy it
            if grad_student is not None:
                grad_student = weight.sum(0)[..., None] * grad_student.view(student.shape)
                grad_student -= torch.einsum("tsb,tbd->sbd", weight * ctx.temperature, pulled)
                grad_student = grad_student.to(student.dtype)
            if grad_weight is not None:
                grad_weight = grad_weight.to(student_weight.dtype)
        return grad_student, grad_weight, None, None, None, None, None, None


def _forward_pass(chunks: Chunks, shelf: Shelf | None) -> tuple[Tensor, Tensor, Tensor]:
    """Log-normalizers (S B + T B, 1), the pull ``W_student^T q`` (T B, d), and the entropy of q (T B)."""
    wanted = slice(chunks.n_guesses, None)
    softmax = RunningSoftmax(chunks.n_rows, chunks.student, chunks.sum_dtype, wanted)
    pulled = torch.zeros_like(chunks.targets, dtype=chunks.sum_dtype)
    is_fused = fuses(chunks.student, chunks.sum_dtype)
    dtype = chunks.product_dtype if is_fused else chunks.sum_dtype
    for number, outputs in enumerate(chunks.ranges()):
        weight = chunks.operand(chunks.student_rows.of(outputs))
        products = chunks.products(outputs, weight)
        place = None if shelf is None else shelf.place(number, products.shape)
        direct = place if place is not None and place.dtype == dtype else None
        exponentials = chunks.memory("exponentials", products.shape, dtype) if direct is None else direct
        if is_fused:
            decay = softmax.add_fused(products, chunks.centers[:, outputs], chunks.n_regions, out=exponentials)
        else:
            decay = softmax.add(chunks.logits(outputs, products), out=exponentials)
        if shelf is not None and place is not None:
            exponentials = place.copy_(exponentials) if direct is None else direct
            shelf.kept.append(Kept(place, softmax.peak))
        pulled.mul_(decay[wanted]).add_(chunks.operand(exponentials[wanted]) @ weight)
    norms, total = softmax.log_normalizer(), softmax.total[wanted]
    return norms, pulled / total, (norms[wanted] - softmax.expected[wanted] / total).squeeze(1)


def _backward_pass(
    chunks: Chunks, norms: Tensor, shelf: Shelf, rows: Tensor, needs: tuple[bool, bool]
) -> tuple[Tensor | None, Tensor | None]:
    """``W_student^T p`` of the students (S B, d), and the weight's gradient (K, d).

    Args:
        chunks: last layers and logits.
        norms: log-normalizers, (S B + T B, 1).
        shelf: exponentials of the first ranges, which need not be made again, and memory for the second gradient.
        rows: what each row's probabilities pull the weight to, (S B + T B, d).
        needs: which of the two gradients.
    """
    expected = torch.zeros_like(chunks.student, dtype=chunks.sum_dtype) if needs[0] else None
    grad_weight = shelf.gradient if needs[1] else None
    for number, outputs in enumerate(chunks.ranges()):
        exact = chunks.student_rows.of(outputs)
        weight, pulls, scale = chunks.operand(exact), rows, None
        if number < len(shelf.kept):
            exponentials, peak = shelf.kept[number]
            scale = (peak - norms).exp_()
            pulls = rows * scale
        else:
            logits = chunks.logits(outputs, chunks.products(outputs, weight))
            exponentials = chunks.operand(logits.sub_(norms).exp_())
        if expected is not None:
            pulled = exponentials[: chunks.n_guesses] @ weight
            expected += pulled if scale is None else pulled * scale[: chunks.n_guesses]
        if grad_weight is not None:
            pull = chunks.memory("pull", weight.shape, chunks.product_dtype)
            pull = torch.mm(exponentials.T, chunks.operand(pulls), out=pull).to(chunks.sum_dtype)
            radial = torch.mul(pull, exact, out=chunks.memory("radial", exact.shape, exact.dtype)).sum(1, keepdim=True)
            pull.addcmul_(exact, radial, value=-1)  # a row's length does not count
            torch.mul(pull, chunks.student_rows.scale[outputs], out=grad_weight[outputs])
    return expected, grad_weight
