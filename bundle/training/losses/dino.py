"""Self-distillation: student views match the teacher's other views of the same region."""

from __future__ import annotations

import ignite.distributed as idist
import torch
from torch import Tensor, nn

from ...core import SettingError
from .center import Center
from .matched_temperature import mean_entropy
from .sinkhorn import Sinkhorn, target_logits


class DINOLoss(nn.Module):
    """Student matches the teacher's sharpened, centered views of the same region [1].

    ``mean over b and over pairs (t, s), s != t, of H(softmax((W h_t - center) / teacher_temperature), softmax(W h_s /
    student_temperature))``; view i of the student is view i of the teacher. The mean is over the global batch: the
    gradients of the ranks average to it, whatever number of regions each holds. :class:`SLPDLoss` computes it, from the
    pairs and centers that are here.

    Args:
        out_dim: outputs K of the last layer.
        center_momentum: share of the old center kept at each update, in [0, 1).
        balance: gives the center in place of the running mean, which then stays 0; None: the running mean, as in [1].

    References:
        [1] Caron et al., ICCV 2021, eq. 1-4.
    """

    def __init__(self, out_dim: int, *, center_momentum: float = 0.9, balance: Sinkhorn | None = None) -> None:
        super().__init__()
        self.balance = balance
        self.center = Center(out_dim, center_momentum)

    def pair_weight(self, student: Tensor, teacher: Tensor, n_regions: Tensor) -> Tensor:
        """Weight of each pair, shape (T, S, B), for a global batch of ``n_regions``.

        Raises:
            ValueError: no pair of views is left to compare.
        """
        n_teacher, n_student = len(teacher), len(student)
        pairs = self.center.value.new_ones(n_teacher, n_student, 1)
        n_same = min(n_teacher, n_student)
        for view in range(n_same):
            pairs[view, view] = 0.0
        n_pairs = n_teacher * n_student - n_same
        if n_pairs == 0:
            raise SettingError(
                f"no pair of views left to compare: got {n_teacher} teacher and {n_student} student view(s), and no "
                "view is compared with itself; add a second view."
            )
        scale = idist.get_world_size() / (n_pairs * n_regions.clamp(min=1))
        return (pairs * scale).expand(-1, -1, student.shape[1])

    def centers(self, teacher: Tensor, teacher_weight: Tensor, temperature: float | Tensor) -> Tensor:
        """Center of each of the teacher's views (T, B, d), shape (T, K); one for all."""
        if self.balance is None:
            return self.center.value.expand(len(teacher), -1)
        return self.balance.center(teacher, teacher_weight, temperature).expand(len(teacher), -1)

    @torch.no_grad()
    def entropy(self, teacher: Tensor, teacher_weight: Tensor, temperature: float | Tensor) -> Tensor:
        """Mean entropy in nats of the targets that the views (T, B, d) of all ranks are; all logits at once."""
        centers = self.centers(teacher, teacher_weight, temperature)[:1]
        logits = target_logits(teacher, teacher_weight) - centers
        return mean_entropy(logits, logits.new_ones(logits.shape[:-1], dtype=torch.bool), temperature)

    def update_center(self, teacher: Tensor, teacher_weight: Tensor) -> None:
        """Move the center to the mean logits of the teacher's bottlenecks (T, B, d) over the global batch."""
        if self.balance is not None:
            self.balance.update(teacher)
            return
        self.center.update(teacher, teacher_weight)
