"""Student and teacher: an encoder with the last layer, applied to groups of views."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..cohort import SettingError
from .encoder import Encoder, compile_backbone
from .head import LastLayer
from .shared_weights import SharedWeights


class Distiller(nn.Module):
    """Views in, bottlenecks and the last layer's weight out; losses do the rest.

    Args:
        encoder: backbone and head.
        last_layer: bottlenecks to logits.
    """

    def __init__(self, encoder: Encoder, last_layer: LastLayer) -> None:
        super().__init__()
        self.encoder = encoder
        self.last_layer = last_layer

    def forward(self, views: Sequence[Tensor], draws: Sequence[Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """Embed every view; one pass of the backbone for each group of equal size, one of the head for all.

        Args:
            views: groups (v, B, C, H, W), all with the same B.
            draws: uniforms (v, B, n_draws) for each group, on the views' device, or None: no stochastic depth.

        Returns:
            Bottlenecks (sum of v, B, d) of unit length, float32, and the last layer's weight (K, d) as it is: losses
            normalize its rows where they read them.
        """
        backbone, head = SharedWeights(self.encoder.backbone, len(views)), SharedWeights(self.encoder.head, 1)
        embeddings = []
        for i, group in enumerate(views):
            rows = None if draws is None else draws[i].flatten(0, 1)
            embeddings.append(backbone(i, group.flatten(0, 1), rows))
        bottlenecks = head(0, torch.cat(embeddings))
        return bottlenecks.unflatten(0, (-1, views[0].shape[1])), self.last_layer.weight_v


def frozen_copy(module: Distiller) -> Distiller:
    """A copy in evaluation mode whose parameters take no gradients, compiled as its model is: the first teacher."""
    teacher = copy.deepcopy(module).eval().requires_grad_(False)
    if module.encoder.backbone._compiled_call_impl is not None:  # a copy loses it
        compile_backbone(teacher.encoder, module.last_layer.weight_v.device)
    return teacher


@torch.no_grad()
def ema_update_(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """``teacher <- momentum * teacher + (1 - momentum) * student``, in place, parameters and floating buffers.

    Args:
        teacher, student: same architecture, same device.
        momentum: in [0, 1]; 1 leaves the teacher alone.

    Raises:
        ValueError: the two have different numbers of parameters, or ``momentum`` is out of range.
    """
    if not 0 <= momentum <= 1:
        raise SettingError(f"momentum must lie in [0, 1]: got {momentum}.")
    targets, sources = _floats(teacher), _floats(student)
    if len(targets) != len(sources):
        raise ValueError(f"teacher and student differ: {len(targets)} and {len(sources)} tensors.")
    torch._foreach_lerp_(targets, sources, 1.0 - momentum)


def _floats(module: nn.Module) -> list[Tensor]:
    return [t for t in [*module.parameters(), *module.buffers()] if t.is_floating_point()]
