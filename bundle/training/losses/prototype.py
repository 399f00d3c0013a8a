"""Slide-level distillation: student views match the prototypes of their region."""

from __future__ import annotations

from typing import Literal, NamedTuple

import ignite.distributed as idist
import torch
from torch import Tensor, nn

from ...core import SettingError, as_number
from ...parallel import sum_over_ranks
from ...prototypes import PrototypeTargets
from .assignment import assignment_losses
from .center import Center
from .matched_temperature import matched_temperature, mean_entropy
from .sinkhorn import Sinkhorn, target_logits


class TargetRows(NamedTuple):
    """Prototypes as :func:`~bundle.training.distillation` takes targets, at the views' temperature.

    Attributes:
        vectors: shape (1 + R, B, d); shorter than 1 where prototypes have a higher temperature than views.
        centers: shape (1 + R, K).
        temperature: of the prototypes.
    """

    vectors: Tensor
    centers: Tensor
    temperature: float | Tensor


class PrototypeLoss(nn.Module):
    """Student views of a region match the prototypes assigned to it [1].

    A prototype c becomes a target as a teacher view does, ``q = softmax((W c - center) / teacher_temperature)``, with a
    center of its own. Intra-slide: the mean of H(q, p) over the views and the clustered regions of the global batch.
    Inter-slide: the mean over the views and the (region, neighbor) pairs that have a target. Nothing valid gives 0.
    :class:`SLPDLoss` computes both, from the pairs and centers that are here.

    Args:
        out_dim: outputs K of the last layer.
        student_temperature: above 0.
        center_momentum: share of the old center kept at each update, in [0, 1).
        skip_same_view: leave out student view 0, as the authors' implementation does; the paper uses every view.
        update_per_loss: update the center after the intra-slide and again after the inter-slide prototypes (which then
            use the once updated center), as the authors' implementation does; otherwise once, from all of them.
        temperature: of targets made of prototypes; None: the teacher's, as in [1]; "match": in each step the one at
            which the mean entropy of these targets is that of the views', within a factor of 32 of the teacher's.
        balance: gives the center in place of the running mean, which then stays 0; None: the running mean.

    Raises:
        SettingError: an argument outside its range, or ``update_per_loss`` where no center is updated.

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
        temperature: float | Literal["match"] | None = None,
        balance: Sinkhorn | None = None,
    ) -> None:
        super().__init__()
        if update_per_loss and balance is not None:
            raise SettingError(
                "center_update_per_loss moves a running center, and Sinkhorn-Knopp has none: set "
                "center_update_per_loss: false, or centering: center."
            )
        self.temperature = temperature
        if temperature is not None and temperature != "match":
            self.temperature = as_number(temperature, 'prototype_temperature (if neither null nor "match")', low=1e-4)
        self.balance = balance
        self.student_temperature = student_temperature
        self.skip_same_view = skip_same_view
        self.update_per_loss = update_per_loss
        self.center = Center(out_dim, center_momentum)

    def assignment(self, student: Tensor, prototypes: PrototypeTargets) -> tuple[Tensor, Tensor]:
        """The intra- and the inter-slide loss, scalar nats, where students tell which prototype is their region's.

        See :func:`assignment_losses`. With several ranks the results are this rank's share times the number of ranks.
        """
        weight = self.pair_weight(student, prototypes.valid, sum_over_ranks(self.counts(prototypes.valid)))
        losses = assignment_losses(student, prototypes, weight, self.student_temperature)
        return losses[0], losses[1:].sum()

    def rows(
        self,
        prototypes: PrototypeTargets,
        teacher_weight: Tensor,
        temperature: float | Tensor,
        views_entropy: Tensor | None = None,
    ) -> TargetRows:
        """The prototypes as targets: ``(W c - m) / tau_c`` is ``(W (a c) - a m) / tau`` with ``a = tau / tau_c``.

        Args:
            prototypes: of this rank's regions.
            teacher_weight: last layer of the teacher, (K, d).
            temperature: of the views' targets, tau.
            views_entropy: mean entropy of the views' targets, where the temperature is to match it.
        """
        vectors = self.vectors(prototypes)
        if self.temperature is None:
            return TargetRows(vectors, self.centers(prototypes, teacher_weight, temperature), temperature)
        own = self._own_temperature(prototypes, teacher_weight, temperature, views_entropy)
        scale = temperature / own
        return TargetRows(vectors * scale, self.centers(prototypes, teacher_weight, own) * scale, own)

    def _own_temperature(
        self,
        prototypes: PrototypeTargets,
        teacher_weight: Tensor,
        temperature: float | Tensor,
        views_entropy: Tensor | None,
    ) -> float | Tensor:
        if isinstance(self.temperature, float):
            return self.temperature
        if views_entropy is None:
            raise ValueError('a prototype temperature of "match" needs the mean entropy of the views\' targets.')
        logits = target_logits(self.vectors(prototypes), teacher_weight)

        def entropy_at(own: Tensor) -> Tensor:
            centers = self.centers(prototypes, teacher_weight, own)
            return mean_entropy(logits - centers[:, None], prototypes.valid, own)

        return matched_temperature(entropy_at, views_entropy, temperature)

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

    def centers(self, prototypes: PrototypeTargets, teacher_weight: Tensor, temperature: float | Tensor) -> Tensor:
        """Center of each prototype row of this batch, shape (1 + R, K), for targets of that temperature."""
        if self.balance is not None:
            vectors = self.vectors(prototypes)
            balanced = self.balance.center(vectors, teacher_weight, temperature, prototypes.valid)
            return balanced.expand(len(vectors), -1)
        center = self.center.value
        later = center
        if self.update_per_loss:
            later = self.center.moved(prototypes.vectors[0], teacher_weight, prototypes.valid[0])
        return torch.stack([center] + [later] * (len(prototypes.valid) - 1))

    def update_center(self, prototypes: PrototypeTargets, teacher_weight: Tensor) -> None:
        """Move the center to the mean logits of the valid prototypes of the global batch; none valid: it stays.

        Every rank must call it, with prototypes of the same R.
        """
        if self.balance is not None:
            self.balance.update(self.vectors(prototypes), prototypes.valid)
            return
        groups = (slice(0, 1), slice(1, None)) if self.update_per_loss else (slice(None),)
        for group in groups:
            self.center.update(prototypes.vectors[group], teacher_weight, prototypes.valid[group])
