"""Slide-level distillation: student views match the prototypes of their region."""

from __future__ import annotations

import ignite.distributed as idist
import torch
from torch import Tensor, nn

from ...core import SettingError
from ...parallel import sum_over_ranks
from ...prototypes import PrototypeTargets
from .center import Center
from .entropy import distillation


class PrototypeLoss(nn.Module):
    """Student views of a region match the prototypes assigned to it [1].

    A prototype c becomes a target as a teacher view does, ``q = softmax((W c - center) / teacher_temperature)``, with a
    center of its own. Intra-slide: the mean of H(q, p) over the views and the clustered regions of the global batch.
    Inter-slide: the mean over the views and the (region, neighbor) pairs that have a target. Nothing valid gives 0.

    Args:
        out_dim: outputs K of the last layer.
        student_temperature: above 0.
        center_momentum: share of the old center kept at each update, in [0, 1).
        skip_same_view: leave out student view 0, as the authors' implementation does; the paper uses every view.
        update_per_loss: update the center after the intra-slide and again after the inter-slide prototypes (which then
            use the once updated center), as the authors' implementation does; otherwise once, from all of them.

    References:
        [1] Yu, Lin, Xu, "SLPD", MICCAI 2023: intra- and inter-slide distillation.
    """

    def __init__(
        self,
        out_dim: int,
        *,
        student_temperature: float = 0.1,
        center_momentum: float = 0.9,
        skip_same_view: bool = False,
        update_per_loss: bool = False,
    ) -> None:
        super().__init__()
        self.student_temperature = student_temperature
        self.skip_same_view = skip_same_view
        self.update_per_loss = update_per_loss
        self.center = Center(out_dim, center_momentum)

    def forward(
        self,
        student: Tensor,
        student_weight: Tensor,
        prototypes: PrototypeTargets,
        teacher_weight: Tensor,
        temperature: float,
    ) -> tuple[Tensor, Tensor]:
        """Return the intra- and the inter-slide loss, scalar nats. Leaves the center alone.

        Bottlenecks (S, B, d), weights (K, d), prototypes (1 + R, B, d). With several ranks the results are
        this rank's share times the number of ranks.
        """
        losses = distillation(
            student,
            student_weight,
            self.vectors(prototypes),
            teacher_weight,
            self.centers(prototypes, teacher_weight),
            self.pair_weight(student, prototypes.valid, sum_over_ranks(self.counts(prototypes.valid))),
            self.student_temperature,
            temperature,
        ).loss
        return losses[0], losses[1:].sum()

    def vectors(self, prototypes: PrototypeTargets) -> Tensor:
        """Prototypes (1 + R, B, d) in the dtype of the center; zeros stand in for those that are not valid."""
        vectors = prototypes.vectors.detach().to(self.center.value.dtype)
        return torch.where(prototypes.valid[..., None], vectors, 0.0)

    def counts(self, valid: Tensor) -> Tensor:
        """Targets of this rank, shape (2,): clustered regions and (region, neighbor) pairs."""
        return torch.stack([valid[0].sum(), valid[1:].sum()]).to(self.center.value.dtype)

    def pair_weight(self, student: Tensor, valid: Tensor, counts: Tensor) -> Tensor:
        """Weight of each pair, shape (1 + R, S, B), given the two global ``counts``.

        Raises:
            ValueError: no student view is left to compare.
        """
        n_views, first = len(student), int(self.skip_same_view)
        if n_views == first:
            raise SettingError(
                f"no student view left to compare with prototypes: got {n_views} view(s) with "
                f"skip_same_view={self.skip_same_view}; add a view, or set skip_same_view=False."
            )
        scale = idist.get_world_size() / ((n_views - first) * counts.clamp(min=1))
        scale = torch.cat([scale[:1], scale[1:].expand(len(valid) - 1)])
        weight = (valid * scale[:, None])[:, None].repeat(1, n_views, 1)
        weight[:, :first] = 0.0
        return weight

    def centers(self, prototypes: PrototypeTargets, teacher_weight: Tensor) -> Tensor:
        """Center of each prototype row of this batch, shape (1 + R, K)."""
        center = self.center.value
        later = center
        if self.update_per_loss:
            later = self.center.moved(prototypes.vectors[0], teacher_weight, prototypes.valid[0])
        return torch.stack([center] + [later] * (len(prototypes.valid) - 1))

    def update_center(self, prototypes: PrototypeTargets, teacher_weight: Tensor) -> None:
        """Move the center to the mean logits of the valid prototypes of the global batch; none valid: it stays.

        Every rank must call it, with prototypes of the same R.
        """
        groups = (slice(0, 1), slice(1, None)) if self.update_per_loss else (slice(None),)
        for group in groups:
            self.center.update(prototypes.vectors[group], teacher_weight, prototypes.valid[group])
