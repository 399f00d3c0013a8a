"""Loss and last layer, forward and backward: DINO, intra-slide and inter-slide terms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bundle.networks import LastLayer
from bundle.prototypes import PrototypeTargets
from bundle.training import SLPDLoss

from . import reference_way
from .measure import Case, Variant

_N_VIEWS, _N_TEACHER, _DIM = 10, 2, 256


class Problem:
    """Random bottlenecks of B regions, two last layers, and the loss in both ways.

    Args:
        n_regions: B.
        out_dim: K.
        device: where.
    """

    def __init__(self, n_regions: int, out_dim: int = 65536, device: str = "cpu") -> None:
        generator = torch.Generator().manual_seed(0)

        def unit(*shape: int) -> Tensor:
            return F.normalize(torch.randn(*shape, generator=generator), dim=-1).to(device)

        self.student = unit(_N_VIEWS, n_regions, _DIM).requires_grad_()
        self.teacher = unit(_N_TEACHER, n_regions, _DIM)
        self.prototypes = PrototypeTargets(
            unit(2, n_regions, _DIM), torch.ones(2, n_regions, dtype=torch.bool, device=device)
        )
        self.layers = [LastLayer(_DIM, out_dim).to(device) for _ in range(2)]
        self.loss = SLPDLoss(out_dim, skip_same_view_prototypes=True).to(device)

    def by_reference(self) -> tuple[Tensor, ...]:
        """Loss, gradient of the bottlenecks, gradient of the last layer's weight."""
        with torch.no_grad():
            teacher = reference_way.logits(self.layers[1], self.teacher)
            prototypes = reference_way.logits(self.layers[1], self.prototypes.vectors)
        student = reference_way.logits(self.layers[0], self.student)
        centers = self.loss.dino.center.value, self.loss.prototype.center.value
        return self._gradients(reference_way.slpd_loss(student, teacher, prototypes, centers, (0.1, 0.04)))

    def by_us(self) -> tuple[Tensor, ...]:
        """The same, by :class:`bundle.training.SLPDLoss`."""
        weights = [layer.weight_v for layer in self.layers]
        terms = self.loss(self.student, weights[0], self.teacher, weights[1].detach(), 0.04, self.prototypes)
        return self._gradients(terms["loss"])

    def products(self) -> None:
        """The matrix products that no way can do without: logits once, two gradients once."""
        rows = self.student.detach().flatten(0, 1)
        targets = torch.cat([self.teacher, self.prototypes.vectors]).flatten(0, 1)
        weight = self.layers[0].weight_v.detach()
        for part in weight.split(2048):
            logits = rows @ part.T
            targets @ part.T
            logits @ part
            logits.T @ rows

    def _gradients(self, loss: Tensor) -> tuple[Tensor, ...]:
        return loss.detach(), *torch.autograd.grad(loss, [self.student, self.layers[0].weight_v])


def cases(device: str, threads: int) -> list[Case]:
    """Two batch sizes, the second twice the first: memory must not follow."""
    found = []
    for n_regions in (16, 32) if device == "cpu" else (128,):
        problem = Problem(n_regions, device=device)
        found.append(
            Case(
                "loss",
                f"loss and last layer, B = {n_regions}, 65,536 outputs",
                [
                    Variant("loop over pairs, fp32", "reference", problem.by_reference),
                    Variant("loop over pairs, bf16", "peer", in_bf16(problem.by_reference, device)),
                    Variant("ours, fp32", "ours", problem.by_us),
                    Variant("ours, bf16", "ours", in_bf16(problem.by_us, device)),
                    Variant("the products alone, fp32", "limit", problem.products),
                    Variant("the products alone, bf16", "limit", in_bf16(problem.products, device)),
                ],
                goal={"ours, fp32": 2.0, "ours, bf16": 3.5} if n_regions == 32 else {},
                note="64 MiB of each memory figure are the weight's gradient.",
            )
        )
    return found


def in_bf16(run: Callable[..., Any], device: str) -> Callable[..., Any]:
    """``run`` under autocast to bfloat16."""
    return torch.autocast(device, torch.bfloat16)(run)
