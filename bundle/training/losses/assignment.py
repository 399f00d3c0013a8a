"""Slide-level assignment: a student view says which of a slide's prototypes its region belongs to."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ...core import SettingError, as_bool
from ...prototypes import PrototypeTargets


def assigns(task: str, update_per_loss: bool, center_start: str, temperature: float | str | None) -> bool:
    """Whether prototypes are told apart by students, rather than made into targets of outputs.

    Raises:
        SettingError: another task, or options of such targets where there are none.
    """
    if task not in ("distill", "assign"):
        raise SettingError(f'prototype_task must be "distill" or "assign": got {task!r}.')
    has_other = as_bool(update_per_loss) or center_start != "zero" or temperature is not None
    if task == "assign" and has_other:
        raise SettingError(
            "center_update_per_loss, prototype_center_start and prototype_temperature are about targets made of "
            "prototypes, and prototype_task: assign makes none: leave them out, or set prototype_task: distill."
        )
    return task == "assign"


def assignment_losses(student: Tensor, targets: PrototypeTargets, weight: Tensor, temperature: float) -> Tensor:
    """``-log softmax_k(cos(h, c_k) / temperature)`` at the prototype that a region is assigned to, c_k of one slide.

    All prototypes that a region is told from are of one slide, its own or that of a neighbor, so that whose slide it is
    does not help. With one prototype there is nothing to tell, and the loss is 0. Prototypes are constants.

    Args:
        student: L2-normalized bottlenecks of S views of B regions, shape (S, B, d).
        targets: with ``choices``, K prototypes a slide.
        weight: of each pair, shape (1 + R, S, B); what has 0 is left out.
        temperature: of the softmax, above 0.

    Returns:
        Weighted sums of the own slides' and of each neighbor's, nats, shape (1 + R,).

    Raises:
        ValueError: the targets come without choices.

    References:
        Li et al., "Prototypical contrastive learning of unsupervised representations", ICLR 2021, whose prototypes are
        of the whole cohort; here a slide is a cohort.
    """
    if targets.choices is None:
        raise ValueError("assignment needs targets with choices: make the bank with prototype_task=assign.")
    vectors, exists, number = targets.choices
    with torch.autocast(student.device.type, enabled=False):
        rows = student if student.dtype == torch.float64 else student.float()
        logits = torch.einsum("sbd,rbkd->rsbk", rows, vectors.detach().to(rows.dtype)) / temperature
        exists = exists | ~targets.valid[..., None]  # a row without any would be NaN, in the gradient as well
        logits = logits.masked_fill(~exists[:, None], -torch.inf)
        wanted = number[:, None].expand(logits.shape[:-1])
        losses = cross_entropy(logits.flatten(0, 2), wanted.flatten(), reduction="none").view(wanted.shape)
        return torch.where(weight > 0, weight * losses, 0.0).sum((1, 2))
