"""Brightness, contrast, saturation and hue of a batch in one pass: together they are one affine map of colors."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...pages import LUMA

# RGB to luma and two chroma axes (YIQ), in which a hue shift is a rotation.
_YIQ = (LUMA, (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))


def jitter_matrices(draws: Tensor, strengths: tuple[float, float, float, float], mean_luma: Tensor) -> Tensor:
    """The affine color map of each sample.

    Brightness multiplies; contrast blends with the image's mean luma; saturation blends with each pixel's luma; hue
    turns the chroma plane. They are composed in this order and clamped once, at the end, by whoever applies them;
    DINO's tool draws the order and clamps after each step.

    Args:
        draws: uniforms in [0, 1), [B, 4].
        strengths: brightness, contrast, saturation as +- shares; hue as +- turns.
        mean_luma: of each image before jitter, [B], in [0, 1].

    Returns:
        [B, 3, 4]: new = M[:, :, :3] @ rgb + M[:, :, 3].
    """
    B, device = draws.shape[0], draws.device  # noqa: N806
    signed = draws * 2 - 1
    brightness, contrast, saturation = (1 + signed[:, i] * strengths[i] for i in range(3))
    angle = signed[:, 3] * (strengths[3] * 2 * math.pi)
    eye = torch.eye(3, device=device)
    to_luma = torch.tensor(LUMA, device=device).expand(3, 3)
    saturate = saturation[:, None, None] * eye + (1 - saturation)[:, None, None] * to_luma
    linear = _hue_rotation(angle) @ saturate * (brightness * contrast)[:, None, None]
    # saturation and hue leave gray as it is, so that the contrast's gray offset passes through unchanged
    offset = ((1 - contrast) * brightness * mean_luma)[:, None, None].expand(B, 3, 1)
    return torch.cat([linear, offset], 2)


def gray_matrix(device: torch.device) -> Tensor:
    """Every channel becomes the luma: [3, 4]."""
    return torch.cat([torch.tensor(LUMA, device=device).expand(3, 3), torch.zeros(3, 1, device=device)], 1)


def apply_color(image: Tensor, matrices: Tensor) -> Tensor:
    """Affine color maps [B, 3, 4] on images [B, 3, H, W] in [0, 1], clamped to [0, 1]."""
    B, C, H, W = image.shape  # noqa: N806
    return (
        torch.baddbmm(matrices[:, :, 3:], matrices[:, :, :3], image.reshape(B, C, H * W)).clamp_(0, 1).view(B, C, H, W)
    )


def _hue_rotation(angle: Tensor) -> Tensor:
    yiq = torch.tensor(_YIQ, device=angle.device)
    turn = torch.zeros(angle.shape[0], 3, 3, device=angle.device)
    turn[:, 0, 0] = 1
    turn[:, 1, 1] = turn[:, 2, 2] = angle.cos()
    turn[:, 2, 1] = angle.sin()
    turn[:, 1, 2] = -angle.sin()
    return torch.linalg.inv(yiq) @ turn @ yiq
