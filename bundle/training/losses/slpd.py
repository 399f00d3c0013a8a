"""The whole objective of slide-level prototypical distillation."""

from __future__ import annotations

import ignite.distributed as idist
import torch
from torch import Tensor, nn

from ...core import SettingError, as_bool, as_number
from ...parallel import sum_over_ranks
from ...prototypes import PrototypeTargets
from .center import moved_centers
from .dino import DINOLoss
from .entropy import distillation
from .prototype import PrototypeLoss


class SLPDLoss(nn.Module):
    """``L = L_self + intra_weight L_intra + inter_weight L_inter`` [1], from one pass over the outputs.

    :class:`DINOLoss` and :class:`PrototypeLoss` say what each term is and hold its center; here their pairs are
    weighted and distilled together. Both centers are buffers, so they are in the state dict.

    Args:
        out_dim: outputs K of the last layer.
        student_temperature: above 0.
        center_momentum: share of the old centers kept at each update, in [0, 1).
        intra_weight: weight a1 of the intra-slide term, at least 0.
        inter_weight: weight a2 of the inter-slide term, at least 0.
        skip_same_view_prototypes: leave student view 0 out of the prototype terms (the authors' implementation).
        update_per_loss: update the prototype center after each prototype term (the authors' implementation).

    References:
        [1] Yu, Lin, Xu, "SLPD", MICCAI 2023.
    """

    def __init__(
        self,
        out_dim: int,
        *,
        student_temperature: float = 0.1,
        center_momentum: float = 0.9,
        intra_weight: float = 1.0,
        inter_weight: float = 1.0,
        skip_same_view_prototypes: bool = False,
        update_per_loss: bool = False,
    ) -> None:
        super().__init__()
        if min(intra_weight, inter_weight) < 0:
            raise SettingError(f"intra_weight and inter_weight must be >= 0: got {intra_weight} and {inter_weight}.")
        self.dino = DINOLoss(out_dim, student_temperature=student_temperature, center_momentum=center_momentum)
        self.prototype = PrototypeLoss(
            out_dim,
            student_temperature=student_temperature,
            center_momentum=center_momentum,
            skip_same_view=as_bool(skip_same_view_prototypes),
            update_per_loss=as_bool(update_per_loss),
        )
        self.student_temperature = as_number(student_temperature, "student_temperature", low=1e-4)
        self.intra_weight, self.inter_weight = intra_weight, inter_weight

    def forward(
        self,
        student: Tensor,
        student_weight: Tensor,
        teacher: Tensor,
        teacher_weight: Tensor,
        teacher_temperature: float,
        prototypes: PrototypeTargets | None = None,
    ) -> dict[str, Tensor]:
        """Compare views and prototypes; the centers stay as they are.

        Args:
            student: L2-normalized bottlenecks of S views of B regions, shape (S, B, d).
            student_weight: last layer of the student, shape (K, d); the directions of its rows count.
            teacher: L2-normalized bottlenecks of the first T views, shape (T, B, d).
            teacher_weight: last layer of the teacher, shape (K, d); the directions of its rows count.
            teacher_temperature: above 0.
            prototypes: targets of the B regions; None (on every rank) before the first clustering.

        Returns:
            Scalars in nats over the global batch: ``loss`` (carries the gradient, scaled so that the mean over ranks
            is the gradient of the global loss), ``self``, ``intra``, ``inter`` (each before its weight),
            ``teacher_entropy`` and ``kl`` = ``self - teacher_entropy`` (means over the pairs of views).
        """
        teacher = teacher.detach()
        targets, centers, pairs = self._rows(student, teacher, teacher_weight, prototypes)
        n_views = len(teacher)
        result = distillation(
            student,
            student_weight,
            targets,
            teacher_weight,
            centers,
            pairs,
            self.student_temperature,
            teacher_temperature,
        )
        n_own = min(1, len(targets) - n_views)  # 0 without prototypes
        parts = result.loss.split([n_views, n_own, len(targets) - n_views - n_own])
        own, intra, inter = (part.sum() for part in parts)
        local = own + self.intra_weight * intra + self.inter_weight * inter
        entropy = (pairs[:n_views].sum(1) * result.target_entropy[:n_views]).sum()
        shares = torch.stack([local, own, intra, inter, entropy])
        total, own_mean, intra_mean, inter_mean, entropy_mean = sum_over_ranks(shares) / idist.get_world_size()
        return {
            "loss": local + (total - local.detach()),
            "self": own_mean,
            "intra": intra_mean,
            "inter": inter_mean,
            "teacher_entropy": entropy_mean,
            "kl": own_mean - entropy_mean,
        }

    def _rows(
        self, student: Tensor, teacher: Tensor, teacher_weight: Tensor, prototypes: PrototypeTargets | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Targets (T', B, d), their centers (T', K) and pair weights (T', S, B): views first, then prototypes."""
        counts = [self.dino.center.value.new_full((1,), teacher.shape[1])]
        if prototypes is not None:
            counts.append(self.prototype.counts(prototypes.valid))
        total = sum_over_ranks(torch.cat(counts))
        centers = self.dino.center.value.expand(len(teacher), -1)
        pairs = self.dino.pair_weight(student, teacher, total[0])
        if prototypes is None:
            return teacher, centers, pairs
        return (
            torch.cat([teacher, self.prototype.vectors(prototypes)]),
            torch.cat([centers, self.prototype.centers(prototypes, teacher_weight)]),
            torch.cat([pairs, self.prototype.pair_weight(student, prototypes.valid, total[1:])]),
        )

    def center_norms(self) -> dict[str, Tensor]:
        """Lengths of both centers, ``center_norm`` and ``prototype_center_norm``: they settle in a healthy run."""
        return {
            "center_norm": self.dino.center.value.norm(),
            "prototype_center_norm": self.prototype.center.value.norm(),
        }

    def update_centers(self, teacher: Tensor, teacher_weight: Tensor, prototypes: PrototypeTargets | None) -> None:
        """Move both centers, once per step and after :meth:`forward`; arguments as there, on every rank.

        Without prototypes, or with no valid one in the global batch, the prototype center stays.
        """
        own, shared = self.dino.center, self.prototype.center
        if prototypes is None or self.prototype.update_per_loss or own.momentum != shared.momentum:
            self.dino.update_center(teacher, teacher_weight)
            if prototypes is not None:
                self.prototype.update_center(prototypes, teacher_weight)
            return
        totals = sum_over_ranks(torch.stack([own.sums(teacher), shared.sums(prototypes.vectors, prototypes.valid)]))
        values = torch.stack([own.value, shared.value])
        torch._foreach_copy_(
            [own.value, shared.value], moved_centers(values, totals, teacher_weight, own.momentum).unbind()
        )
