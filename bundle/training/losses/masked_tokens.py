"""The student tells, from what it still sees, what the teacher sees at the tokens that are hidden from it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ...core import as_number
from .center import Center
from .entropy import distillation
from .sinkhorn import Sinkhorn


class MaskedTokens(NamedTuple):
    """The N hidden tokens of this rank's views, of all views together.

    Attributes:
        student: bottlenecks of the student, which sees the mask token there, shape (N, d).
        teacher: bottlenecks of the teacher, which sees all, shape (N, d).
        share: 1 / (hidden tokens of the view that it is of), shape (N,).
    """

    student: Tensor
    teacher: Tensor
    share: Tensor


class MaskedTokenLoss(nn.Module):
    """``mean over views of (mean over its hidden tokens i of H(q_i, p_i))``; a view without hidden tokens has 0 [1].

    ``q_i = softmax((W_t g_i - center) / teacher_temperature)`` of the teacher's output at the token, ``p_i =
    softmax(W_s h_i / student_temperature)`` of the student's at the same place of the same view. Heads and last layers
    are those of CLS. The center is of hidden tokens alone, as in DINOv2; iBOT's is of all tokens.

    Args:
        out_dim: outputs K of the last layer.
        weight: of the term in the objective, above 0.
        student_temperature: above 0.
        center_momentum: share of the old center kept at each update, in [0, 1).
        balance: gives the center in place of the running mean, which then stays 0; None: the running mean.

    References:
        [1] Zhou et al., "iBOT", ICLR 2022.
    """

    def __init__(
        self,
        out_dim: int,
        weight: float,
        *,
        student_temperature: float = 0.1,
        center_momentum: float = 0.9,
        balance: Sinkhorn | None = None,
    ) -> None:
        super().__init__()
        self.weight = as_number(weight, "mask_weight", low=0)
        self.student_temperature = student_temperature
        self.balance = balance
        self.center = Center(out_dim, center_momentum)

    def forward(
        self, tokens: MaskedTokens, student_weight: Tensor, teacher_weight: Tensor, temperature: float | Tensor
    ) -> tuple[Tensor, Tensor]:
        """Sums of this rank's hidden tokens; leaves the center alone.

        Args:
            tokens: of this rank; there may be none.
            student_weight, teacher_weight: last layers, shape (K, d).
            temperature: of the teacher.

        Returns:
            Sum over views of the mean cross-entropy, scalar, carries the gradient; shape (2,): sum over views of the
            mean entropy of targets, and the number of views with hidden tokens.
        """
        teacher = tokens.teacher.detach()
        center = self.center.value
        if self.balance is not None:
            center = self.balance.center(teacher, teacher_weight, temperature)
        share = tokens.share.to(self.center.value.dtype)
        found = distillation(
            tokens.student[None],
            student_weight,
            teacher[None],
            teacher_weight,
            center[None],
            share[None, None],
            self.student_temperature,
            temperature,
        )
        return found.loss[0], torch.stack([(share * found.target_entropy[0]).sum(), share.sum()])

    def update_center(self, tokens: MaskedTokens, teacher_weight: Tensor) -> None:
        """Move the center to the mean logits of the teacher at the hidden tokens of all ranks; none: it stays."""
        if self.balance is None:
            self.center.update(tokens.teacher, teacher_weight)
