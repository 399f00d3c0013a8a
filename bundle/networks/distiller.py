"""Student and teacher: an encoder with the last layer, applied to groups of views."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..core import BundleError, SettingError
from .encoder import Encoder, compile_backbone
from .head import LastLayer
from .shared_weights import SharedWeights
from .token_outputs import MASK_TOKEN, TokenChoice, TokenOutputs


class Distiller(nn.Module):
    """Views in, bottlenecks and the last layer's weight out; losses do the rest.

    Args:
        encoder: backbone and head.
        last_layer: bottlenecks to logits.
        has_mask_token: it learns what stands in place of tokens that are hidden; from zero, as in iBOT.

    Raises:
        BundleError: the encoder has no head.
    """

    mask_token: Tensor | None

    def __init__(self, encoder: Encoder, last_layer: LastLayer, has_mask_token: bool = False) -> None:
        super().__init__()
        if encoder.head is None:
            raise BundleError("students are trained through a projection head: give the encoder one.")
        self.encoder = encoder
        self.last_layer = last_layer
        token = nn.Parameter(torch.zeros(1, 1, int(encoder.backbone.dim))) if has_mask_token else None  # type: ignore[arg-type]
        self.register_parameter(MASK_TOKEN, token)

    def forward(
        self,
        views: Sequence[Tensor],
        masks: Sequence[Tensor] | None = None,
        draws: Sequence[Tensor] | None = None,
        choice: TokenChoice | None = None,
    ) -> tuple[Tensor, ...]:
        """Embed every view; a pass of the backbone for each group of equal size, or one for all on a GPU that drops
        branches and compiles nothing; one of the head for all.

        Args:
            views: groups (v, B, C, H, W), all with the same B.
            masks: bool (v, B, H, W) for each group, tokens that are there; None: all, or an encoder that does not ask.
            draws: uniforms (v, B, n_draws) for each group, on the views' device, or None: no stochastic depth.
            choice: N tokens of the first group, as v B views, that are wanted, too, and which are hidden. The group
                then has a pass of its own, which is not compiled.

        Returns:
            Bottlenecks (sum of v, B, d) of unit length, float32, and the last layer's weight (K, d) as it is: losses
            normalize its rows where they read them. With a choice also bottlenecks (N, d) of the tokens, by the same
            head.
        """
        assert self.encoder.head is not None
        images = [group.flatten(0, 1) for group in views]
        rows = [None if draws is None else draws[i].flatten(0, 1) for i in range(len(views))]
        asks = masks is not None and self.encoder.mask_missing
        cells = [masks[i].flatten(0, 1) if asks else None for i in range(len(views))]  # type: ignore[index]
        if choice is None:
            bottlenecks = SharedWeights(self.encoder.head, 1)(0, self._embeddings(images, cells, rows))
            return bottlenecks.unflatten(0, (-1, views[0].shape[1])), self.last_layer.weight_v
        outputs = SharedWeights(TokenOutputs(self.encoder.backbone), 1)  # type: ignore[arg-type]
        first = outputs(0, images[0], cells[0], rows[0], choice, self.mask_token)
        own, chosen = first.split([len(images[0]), len(choice.places)])
        others = [self._embeddings(images[1:], cells[1:], rows[1:])] if len(views) > 1 else []
        found = SharedWeights(self.encoder.head, 1)(0, torch.cat([own, *others, chosen]))
        bottlenecks, tokens = found.split([len(found) - len(chosen), len(chosen)])
        return bottlenecks.unflatten(0, (-1, views[0].shape[1])), self.last_layer.weight_v, tokens

    def _embeddings(
        self, images: Sequence[Tensor], cells: Sequence[Tensor | None], rows: Sequence[Tensor | None]
    ) -> Tensor:
        """Of all images of all groups."""
        backbone = self.encoder.backbone
        if len(images) > 1 and _goes_together(backbone, rows[0]):
            return SharedWeights(_Together(backbone), 1)(0, images, cells, rows)
        passes = SharedWeights(backbone, len(images))
        return torch.cat([passes(i, *group) for i, group in enumerate(zip(images, cells, rows, strict=True))])


class _Together(nn.Module):
    """All groups in one pass."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Sequence[Tensor], masks: Sequence[Tensor | None], draws: Sequence[Tensor]) -> Tensor:
        grids = [self.backbone.embed(*inputs) for inputs in zip(images, masks, strict=True)]  # type: ignore[operator]
        return self.backbone.encode_groups(grids, masks, draws)  # type: ignore[operator]


def _goes_together(backbone: nn.Module, draws: Tensor | None) -> bool:
    """Launches cost more than what they do; a CPU is no quicker so, and compiled groups have each a program."""
    return draws is not None and draws.is_cuda and backbone._compiled_call_impl is None


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
