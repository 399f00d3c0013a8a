"""Learned positions of one grid, stretched to another."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def resized_positions(pos_embed: Tensor, side: int, height: int, width: int) -> Tensor:
    """Positions for a ``height`` x ``width`` grid.

    Bicubic, with ``scale_factor`` (n + 0.1) / side as DINO and HIPT compute it: the grid is sampled a little off the
    places that ``size=`` would take, and published weights were trained with exactly this.

    Args:
        pos_embed: shape (1, 1 + side^2, dim), CLS first.
        side: cells on a side of the grid that was learned.
        height: rows wanted.
        width: columns wanted.

    Returns:
        Shape (1, 1 + height * width, dim), rows first.
    """
    if height == side and width == side:
        return pos_embed
    cls, cells = pos_embed.split([1, side * side], 1)
    grid = cells.reshape(1, side, side, -1).permute(0, 3, 1, 2)
    scale = [(height + 0.1) / side, (width + 0.1) / side]
    grid = F.interpolate(grid, scale_factor=scale, mode="bicubic", align_corners=False, recompute_scale_factor=False)
    return torch.cat([cls, grid.permute(0, 2, 3, 1).flatten(1, 2)], 1)
