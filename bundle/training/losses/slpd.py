"""The whole objective of slide-level prototypical distillation."""

from __future__ import annotations

from typing import Literal, NamedTuple

import ignite.distributed as idist
import torch
from torch import Tensor, nn

from ...core import SettingError, as_bool, as_number
from ...parallel import sum_over_ranks
from ...prototypes import PrototypeTargets
from .assignment import assigns
from .center import moved_centers
from .dino import DINOLoss
from .entropy import distillation
from .koleo import koleo
from .masked_tokens import MaskedTokenLoss, MaskedTokens
from .prototype import PrototypeLoss
from .sinkhorn import Sinkhorn


class _Rows(NamedTuple):
    """What students are pulled to: views first, then prototypes.

    Attributes:
        targets: shape (T', B, d).
        centers: shape (T', K).
        pairs: weight of each pair, shape (T', S, B).
        n_regions: of the global batch.
        temperature: of the prototypes, where it was looked for.
    """

    targets: Tensor
    centers: Tensor
    pairs: Tensor
    n_regions: Tensor
    temperature: Tensor | None


class SLPDLoss(nn.Module):
    """``L = L_self + a (intra_weight L_intra + inter_weight L_inter)`` [1], from one pass over the outputs.

    a is ``prototype_share``, 1 unless a handler ramps it. With ``koleo_weight``, that times :func:`koleo` of the
    student's views that the teacher sees, too, is added: of their bottlenecks, for that is where prototypes live. With
    ``mask_weight``, that times :class:`MaskedTokenLoss` of the tokens hidden from the student.

    :class:`DINOLoss` and :class:`PrototypeLoss` say what each term is and hold its center; here their pairs are
    weighted and distilled together. Both centers are buffers, so they are in the state dict.

    Args:
        out_dim: outputs K of the last layer.
        student_temperature: above 0.
        center_momentum: share of the old centers kept at each update, in [0, 1).
        intra_weight: weight a1 of the intra-slide term, at least 0.
        inter_weight: weight a2 of the inter-slide term, at least 0.
        skip_same_view_prototypes: leave student view 0 out of the prototype terms (the authors' implementation).
        center_update_per_loss: update the prototype center after each prototype term (the authors' implementation).
        prototype_center_start: "zero", or "views": until there are prototypes, their center is that of the views. From
            zero it needs some steps, in which prototypes are sharper targets than views, and all of them alike.
        prototype_temperature: of targets made of prototypes: None (the teacher's), a number, or "match".
        centering: "center", the running mean of both kinds of targets, or "sinkhorn", each batch's balance of them.
        sinkhorn_iterations: see :class:`Sinkhorn`, as for the next.
        sinkhorn_queue: views, and as many prototypes, of earlier batches that are balanced together with the batch's.
        bottleneck_dim: d; of use to a queue only.
        prototype_task: "distill", a prototype's outputs are the target as in [1], or "assign": students tell which of
            the slide's prototypes is their region's (:func:`assignment_losses`), at the student's temperature.
        koleo_weight: at least 0. (DINOv2 sums over two views and gives each .1; here the mean over views has .2.)
        mask_weight: at least 0.

    Attributes:
        prototype_share: what both prototype terms are multiplied by, beside their weights; in [0, 1].

    Raises:
        SettingError: an argument outside its range.

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
        center_update_per_loss: bool = False,
        prototype_center_start: Literal["zero", "views"] = "zero",
        prototype_temperature: float | Literal["match"] | None = None,
        centering: Literal["center", "sinkhorn"] = "center",
        sinkhorn_iterations: int = 3,
        sinkhorn_queue: int = 0,
        bottleneck_dim: int = 0,
        koleo_weight: float = 0.0,
        prototype_task: Literal["distill", "assign"] = "distill",
        mask_weight: float = 0.0,
    ) -> None:
        super().__init__()
        if centering not in ("center", "sinkhorn"):
            raise SettingError(f'centering must be "center" or "sinkhorn": got {centering!r}.')
        if prototype_center_start not in ("zero", "views"):
            raise SettingError(f'prototype_center_start must be "zero" or "views": got {prototype_center_start!r}.')
        self.assigns = assigns(prototype_task, center_update_per_loss, prototype_center_start, prototype_temperature)
        if min(intra_weight, inter_weight) < 0:
            raise SettingError(f"intra_weight and inter_weight must be >= 0: got {intra_weight} and {inter_weight}.")
        balances: list[Sinkhorn | None] = [None, None]
        if centering == "sinkhorn":
            balances = [Sinkhorn(bottleneck_dim, sinkhorn_iterations, sinkhorn_queue) for _ in balances]
        self.dino = DINOLoss(out_dim, center_momentum=center_momentum, balance=balances[0])
        self.prototype = PrototypeLoss(
            out_dim,
            student_temperature=student_temperature,
            center_momentum=center_momentum,
            skip_same_view=as_bool(skip_same_view_prototypes),
            update_per_loss=as_bool(center_update_per_loss),
            temperature=prototype_temperature,
            balance=balances[1],
        )
        self.masked: MaskedTokenLoss | None = None
        if as_number(mask_weight, "mask_weight", low=0) > 0:
            balance = Sinkhorn(n_iterations=sinkhorn_iterations) if balances[0] is not None else None
            self.masked = MaskedTokenLoss(
                out_dim,
                mask_weight,
                student_temperature=student_temperature,
                center_momentum=center_momentum,
                balance=balance,
            )
        self.student_temperature = as_number(student_temperature, "student_temperature", low=1e-4)
        self.intra_weight, self.inter_weight = intra_weight, inter_weight
        self.koleo_weight = as_number(koleo_weight, "koleo_weight", low=0)
        self.prototype_share = 1.0
        self.starts_at_views = prototype_center_start == "views"

    def forward(
        self,
        student: Tensor,
        student_weight: Tensor,
        teacher: Tensor,
        teacher_weight: Tensor,
        teacher_temperature: float | Tensor,
        prototypes: PrototypeTargets | None = None,
        tokens: MaskedTokens | None = None,
    ) -> dict[str, Tensor]:
        """Compare views and prototypes; the centers stay as they are.

        Args:
            student: L2-normalized bottlenecks of S views of B regions, shape (S, B, d).
            student_weight: last layer of the student, shape (K, d); the directions of its rows count.
            teacher: L2-normalized bottlenecks of the first T views, shape (T, B, d).
            teacher_weight: last layer of the teacher, shape (K, d); the directions of its rows count.
            teacher_temperature: above 0; a scalar tensor where a CUDA graph is to read it anew at each step.
            prototypes: targets of the B regions; None (on every rank) before the first clustering.
            tokens: those that are hidden from the student, if there is a ``mask_weight``.

        Returns:
            Scalars in nats over the global batch: ``loss`` (carries the gradient, scaled so that the mean over ranks
            is the gradient of the global loss), ``self``, ``intra``, ``inter`` (each before its weight),
            ``teacher_entropy`` and ``kl`` = ``self - teacher_entropy`` (means over the pairs of views); with prototypes
            also the mean entropy of their targets, ``intra_entropy`` and ``inter_entropy``; ``koleo`` and ``masked``
            before their weights, ``masked_entropy`` of the targets of a view with hidden tokens, and
            ``prototype_temperature`` where an option asks for them.
        """
        teacher = teacher.detach()
        distilled = None if self.assigns else prototypes
        rows = self._rows(student, teacher, teacher_weight, teacher_temperature, distilled)
        targets, centers, pairs = rows.targets, rows.centers, rows.pairs
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
        kinds = [n_views, n_own, len(targets) - n_views - n_own]
        own, intra, inter = (part.sum() for part in result.loss.split(kinds))
        if self.assigns and prototypes is not None:
            intra, inter = self.prototype.assignment(student, prototypes)
        intra_weight, inter_weight = self.prototype_share * self.intra_weight, self.prototype_share * self.inter_weight
        local = own + intra_weight * intra + inter_weight * inter
        spread = koleo(student[:n_views]) if self.koleo_weight else None
        if spread is not None:
            local = local + self.koleo_weight * spread
        hidden = self._hidden(tokens, student_weight, teacher_weight, teacher_temperature, rows.n_regions * n_views)
        if self.masked is not None and hidden:
            local = local + self.masked.weight * hidden[0]
        entropies = [part.sum() for part in (pairs.sum(1) * result.target_entropy).split(kinds)]
        shares = torch.stack([local, own, intra, inter, *entropies, *hidden])
        total, *means = (sum_over_ranks(shares) / idist.get_world_size()).unbind()
        return {
            "loss": local + (total - local.detach()),
            **dict(zip(("self", "intra", "inter"), means[:3], strict=True)),
            "teacher_entropy": means[3],
            "kl": means[0] - means[3],
            **({} if distilled is None else {"intra_entropy": means[4], "inter_entropy": means[5]}),
            **({} if spread is None else {"koleo": spread.detach()}),
            **({"masked": means[6], "masked_entropy": means[7] / means[8].clamp(min=1e-9)} if hidden else {}),
            **({} if rows.temperature is None else {"prototype_temperature": rows.temperature}),
        }

    def _hidden(
        self,
        tokens: MaskedTokens | None,
        student_weight: Tensor,
        teacher_weight: Tensor,
        temperature: float | Tensor,
        n_views: Tensor,
    ) -> list[Tensor]:
        """The term of hidden tokens, scaled to a mean over ``n_views`` of all ranks, their entropy, their views."""
        if self.masked is None or tokens is None:
            return []
        loss, sums = self.masked(tokens, student_weight, teacher_weight, temperature)
        return [loss * idist.get_world_size() / n_views.clamp(min=1), *sums.unbind()]

    def _rows(
        self,
        student: Tensor,
        teacher: Tensor,
        teacher_weight: Tensor,
        temperature: float | Tensor,
        prototypes: PrototypeTargets | None,
    ) -> _Rows:
        counts = [self.dino.center.value.new_full((1,), teacher.shape[1])]
        if prototypes is not None:
            counts.append(self.prototype.counts(prototypes.valid))
        total = sum_over_ranks(torch.cat(counts))
        centers = self.dino.centers(teacher, teacher_weight, temperature)
        pairs = self.dino.pair_weight(student, teacher, total[0])
        if prototypes is None:
            return _Rows(teacher, centers, pairs, total[0], None)
        matches = self.prototype.temperature == "match"
        wanted = self.dino.entropy(teacher, teacher_weight, temperature) if matches else None
        shared = self.prototype.rows(prototypes, teacher_weight, temperature, wanted)
        return _Rows(
            torch.cat([teacher, shared.vectors]),
            torch.cat([centers, shared.centers]),
            torch.cat([pairs, self.prototype.pair_weight(student, prototypes.valid, total[1:])]),
            total[0],
            shared.temperature if matches and torch.is_tensor(shared.temperature) else None,
        )

    def center_norms(self) -> dict[str, Tensor]:
        """Lengths of the centers, ``center_norm`` and ``prototype_center_norm``: they settle in a healthy run.

        Without centers, none.
        """
        if self.dino.balance is not None:
            return {}
        return {
            "center_norm": self.dino.center.value.norm(),
            "prototype_center_norm": self.prototype.center.value.norm(),
            **({} if self.masked is None else {"masked_center_norm": self.masked.center.value.norm()}),
        }

    def update_centers(
        self,
        teacher: Tensor,
        teacher_weight: Tensor,
        prototypes: PrototypeTargets | None,
        tokens: MaskedTokens | None = None,
    ) -> None:
        """Move all centers, once per step and after :meth:`forward`; arguments as there, on every rank.

        Without prototypes, with no valid one in the global batch, or where they are assigned, their center stays;
        before the first of them it follows the views' if it shall start there.
        """
        if self.masked is not None and tokens is not None:
            self.masked.update_center(tokens, teacher_weight)
        own, shared = self.dino.center, self.prototype.center
        prototypes = None if self.assigns else prototypes
        is_one_by_one = self.prototype.update_per_loss or self.dino.balance is not None
        if prototypes is None or is_one_by_one or own.momentum != shared.momentum:
            self.dino.update_center(teacher, teacher_weight)
            if prototypes is not None:
                self.prototype.update_center(prototypes, teacher_weight)
            elif self.starts_at_views:
                shared.value.copy_(own.value)
            return
        totals = sum_over_ranks(torch.stack([own.sums(teacher), shared.sums(prototypes.vectors, prototypes.valid)]))
        values = torch.stack([own.value, shared.value])
        torch._foreach_copy_(
            [own.value, shared.value], moved_centers(values, totals, teacher_weight, own.momentum).unbind()
        )
