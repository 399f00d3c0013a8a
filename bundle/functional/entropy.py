"""Cross-entropy of many student views with few target distributions, streamed over the output dimension."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_CHUNK_ELEMENTS = {"cpu": 1 << 18, "cuda": 1 << 25}


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
    teacher_temperature: float,
) -> Distillation:
    """Pull student bottlenecks to the distributions that the teacher's last layer gives for target bottlenecks.

    ``loss[t] = sum_{s,b} pair_weight[t,s,b] * H(q[t,b], p[s,b])`` with ``q = softmax((W_teacher target - center) /
    teacher_temperature)``, ``p = softmax(W_student student / student_temperature)``, ``H(q, p) = -sum_k q_k log p_k``.

    H is linear in log p, so ``H(q, p) = logsumexp(z) - (W_student^T q) . student / student_temperature``: pairs meet
    in the d bottleneck dimensions, never in the K outputs. Logits exist only in chunks of outputs and are made again
    for the gradient; memory beyond the weight's gradient grows neither with views nor with the batch times K.

    Under autocast to bfloat16 the matrix products run in bfloat16, sums and exponentials in float32. Gradients flow to
    ``student`` and ``student_weight`` only.

    Args:
        student: bottlenecks of S views of B regions, shape (S, B, d).
        student_weight: last layer of the student, shape (K, d), rows already normalized.
        targets: bottlenecks (or prototypes) that become distributions, shape (T, B, d), all finite.
        teacher_weight: last layer of the teacher, shape (K, d), rows already normalized.
        centers: what is taken from the targets' logits, shape (T, K) or (1, K).
        pair_weight: weight of each pair, shape (T, S, B); 0 leaves a pair out.
        student_temperature: above 0.
        teacher_temperature: above 0.

    Raises:
        ValueError: shapes that do not fit, or a temperature that is not positive.

    References:
        Caron et al., ICCV 2021, eq. 1-3; the running softmax is Milakov and Gimelshein, arXiv 1805.02867.
    """
    if min(student_temperature, teacher_temperature) <= 0:
        raise ValueError(f"temperatures must be above 0: got {student_temperature} and {teacher_temperature}.")
    n_targets, (n_views, n_regions, _) = len(targets), student.shape
    n_outputs = student_weight.shape[0]
    if targets.shape[1:] != student.shape[1:] or teacher_weight.shape != student_weight.shape:
        raise ValueError(
            f"student {tuple(student.shape)} and targets {tuple(targets.shape)} must share (B, d), weights "
            f"{tuple(student_weight.shape)} and {tuple(teacher_weight.shape)} must share (K, d)."
        )
    if pair_weight.shape != (n_targets, n_views, n_regions) or centers.shape not in {
        (n_targets, n_outputs),
        (1, n_outputs),
    }:
        raise ValueError(
            f"pair_weight must be {(n_targets, n_views, n_regions)} and centers {(n_targets, n_outputs)} or "
            f"{(1, n_outputs)}: got {tuple(pair_weight.shape)} and {tuple(centers.shape)}."
        )
    tensors = (student, student_weight, targets, teacher_weight, centers, pair_weight)
    loss, entropy = _Distillation.apply(*tensors, student_temperature, teacher_temperature)
    return Distillation(loss, entropy)


class _Chunks:
    """Scaled logits of students and targets, a range of outputs at a time."""

    def __init__(self, tensors: tuple[Tensor, ...], temperatures: tuple[float, float]) -> None:
        student, self.student_weight, targets, self.teacher_weight, centers = tensors
        device = student.device.type
        autocast = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) == torch.bfloat16
        self.sum_dtype = torch.float64 if student.dtype == torch.float64 else torch.float32
        self.product_dtype = torch.bfloat16 if autocast else self.sum_dtype
        self.student = self.operand(student.flatten(0, 1) / temperatures[0])
        self.targets = self.operand(targets.flatten(0, 1) / temperatures[1])
        self.centers = centers.to(self.sum_dtype) / temperatures[1]
        self.n_targets = len(targets)
        rows = max(1, len(self.student) + len(self.targets))
        self.width = max(64, _CHUNK_ELEMENTS.get(device, _CHUNK_ELEMENTS["cuda"]) // rows)

    def operand(self, tensor: Tensor) -> Tensor:
        return tensor.detach().to(self.product_dtype)

    def product(self, left: Tensor, right: Tensor) -> Tensor:
        return (self.operand(left) @ self.operand(right)).to(self.sum_dtype)

    def __iter__(self) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
        """Yield the range, the student's weights in it (C, d), student logits (S B, C) and target logits (T B, C)."""
        n_outputs = self.student_weight.shape[0]
        for start in range(0, n_outputs, self.width):
            outputs = slice(start, min(start + self.width, n_outputs))
            weight = self.operand(self.student_weight[outputs])
            guesses = self.product(self.student, weight.T)
            logits = self.product(self.targets, self.operand(self.teacher_weight[outputs]).T)
            logits.view(self.n_targets, -1, logits.shape[1]).sub_(self.centers[:, None, outputs])
            yield outputs, weight, guesses, logits


class _RunningSoftmax:
    """Normalizer of rows whose logits arrive in chunks, with the largest logit so far taken out."""

    def __init__(self, n_rows: int, like: Tensor, dtype: torch.dtype) -> None:
        self.peak = torch.full((n_rows, 1), -torch.inf, dtype=dtype, device=like.device)
        self.total = torch.zeros_like(self.peak)

    def add(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Overwrite ``logits`` by exp(logits - peak); return them and the factor for what was summed before."""
        peak = torch.maximum(self.peak, logits.amax(1, keepdim=True))
        decay = (self.peak - peak).exp_()
        self.peak = peak
        exponentials = logits.sub_(peak).exp_()
        self.total = self.total * decay + exponentials.sum(1, keepdim=True)
        return exponentials, decay

    def log_normalizer(self) -> Tensor:
        return self.peak + self.total.log()


class _Distillation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor]:
        student, student_weight, targets, teacher_weight, centers, pair_weight, *temperatures = inputs
        chunks = _Chunks((student, student_weight, targets, teacher_weight, centers), tuple(temperatures))
        with torch.autocast(student.device.type, enabled=False):
            guess_norm, target_norm, pulled, entropy = _forward_pass(chunks)
            pulled = pulled.view(targets.shape) / temperatures[0]
            weight = pair_weight.to(chunks.sum_dtype)
            gathered = torch.einsum("tsb,sbd->tbd", weight, student.to(chunks.sum_dtype))
            total = torch.einsum("tsb,sb->t", weight, guess_norm.view(student.shape[:2]))
            loss = total - (gathered * pulled).sum((1, 2))
        ctx.save_for_backward(student, student_weight, targets, teacher_weight, weight, pulled)
        ctx.chunks, ctx.norms, ctx.temperature = chunks, (guess_norm, target_norm), temperatures[0]
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
            grad_student, grad_weight = _backward_pass(
                ctx.chunks,
                ctx.norms,
                scaled_rows=(weight.sum(0)[..., None] * rows).flatten(0, 1),
                gathered=torch.einsum("tsb,sbd->tbd", weight, rows).flatten(0, 1),
                needs=(ctx.needs_input_grad[0], ctx.needs_input_grad[1]),
            )
            if grad_student is not None:
                grad_student = weight.sum(0)[..., None] * grad_student.view(student.shape)
                grad_student -= torch.einsum("tsb,tbd->sbd", weight * ctx.temperature, pulled)
                grad_student = grad_student.to(student.dtype)
            if grad_weight is not None:
                grad_weight = grad_weight.to(student_weight.dtype)
        return grad_student, grad_weight, None, None, None, None, None, None


def _forward_pass(chunks: _Chunks) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Log-normalizers (S B, 1) and (T B, 1), the pull ``W_student^T q`` (T B, d) and the entropy of q (T B)."""
    guess = _RunningSoftmax(len(chunks.student), chunks.student, chunks.sum_dtype)
    target = _RunningSoftmax(len(chunks.targets), chunks.targets, chunks.sum_dtype)
    pulled = torch.zeros_like(chunks.targets, dtype=chunks.sum_dtype)
    expected = torch.zeros_like(target.total)
    for _, weight, guesses, logits in chunks:
        guess.add(guesses)
        values = logits.clone()
        exponentials, decay = target.add(logits)
        pulled = pulled * decay + chunks.product(exponentials, weight)
        expected = expected * decay + torch.einsum("rk,rk->r", exponentials, values)[:, None]
    target_norm = target.log_normalizer()
    entropy = target_norm - expected / target.total
    return guess.log_normalizer(), target_norm, pulled / target.total, entropy.squeeze(1)


def _backward_pass(
    chunks: _Chunks, norms: tuple[Tensor, Tensor], scaled_rows: Tensor, gathered: Tensor, needs: tuple[bool, bool]
) -> tuple[Tensor | None, Tensor | None]:
    """``W_student^T p`` of the students (S B, d), and the weight's gradient (K, d)."""
    expected = torch.zeros_like(chunks.student, dtype=chunks.sum_dtype) if needs[0] else None
    grad_weight = torch.empty_like(chunks.student_weight, dtype=chunks.sum_dtype) if needs[1] else None
    for outputs, weight, guesses, logits in chunks:
        probabilities = guesses.sub_(norms[0]).exp_()
        if expected is not None:
            expected += chunks.product(probabilities, weight)
        if grad_weight is not None:
            grad_weight[outputs] = chunks.product(probabilities.T, scaled_rows)
            grad_weight[outputs] -= chunks.product(logits.sub_(norms[1]).exp_().T, gathered)
    return expected, grad_weight
