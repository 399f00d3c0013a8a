"""The region encoder and its head once more, slowly: one view at a time, every layer written out."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

Weights = dict[str, Tensor]


def linear(weights: Weights, name: str, x: Tensor) -> Tensor:
    """x W^T + b."""
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def gelu(x: Tensor) -> Tensor:
    """x times the normal distribution function at x."""
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2


def layer_norm(weights: Weights, name: str, x: Tensor) -> Tensor:
    """Each row to mean 0 and variance 1, then a gain and an offset."""
    centered = x - x.mean(-1, keepdim=True)
    scaled = centered / (centered.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def attention(weights: Weights, name: str, x: Tensor, n_heads: int) -> Tensor:
    """Every token asks every token of its region, head by head: (B, N, dim) -> (B, N, dim)."""
    queries, keys, values = linear(weights, f"{name}.qkv", x).chunk(3, -1)
    heads = []
    for q, k, v in zip(*(part.chunk(n_heads, -1) for part in (queries, keys, values)), strict=True):
        heads.append((q @ k.mT / math.sqrt(q.shape[-1])).softmax(-1) @ v)
    return linear(weights, f"{name}.proj", torch.cat(heads, -1))


def positions(weights: Weights, name: str, height: int, width: int) -> Tensor:
    """Learned positions (1 + height width, dim), bicubic with a scale of (n + 0.1) / side for another grid."""
    learned = weights[name][0]
    side = math.isqrt(len(learned) - 1)
    if (height, width) == (side, side):
        return learned
    grid = learned[1:].T.reshape(1, -1, side, side)
    scale = ((height + 0.1) / side, (width + 0.1) / side)
    grid = F.interpolate(grid, scale_factor=scale, mode="bicubic", recompute_scale_factor=False)
    return torch.cat([learned[:1], grid[0].flatten(1).T])


def drop_rates(drop_path: float, depth: int) -> list[float]:
    """Of each block, linear from 0."""
    return [drop_path * i / (depth - 1) for i in range(depth)]


def bottlenecks(weights: Weights, grids: Tensor, n_heads: int, branches: Tensor | None = None) -> Tensor:
    """Token grids (B, D, H, W) -> unit vectors (B, d).

    Args:
        weights: a ``Distiller``'s, by name.
        grids: one view of each region.
        n_heads: attention heads.
        branches: what each region's attention and MLP of each block are multiplied with, (B, 2 depth); None: 1.
    """
    at = "encoder.backbone"
    depth = len({name.split(".")[3] for name in weights if name.startswith(f"{at}.blocks.")})
    branches = grids.new_ones(len(grids), 2 * depth) if branches is None else branches
    cells = gelu(linear(weights, f"{at}.phi.0", grids.flatten(2).mT))
    cls = weights[f"{at}.cls_token"].expand(len(grids), -1, -1)
    x = torch.cat([cls, cells], 1) + positions(weights, f"{at}.pos_embed", *grids.shape[2:])
    return projected(weights, after_blocks(weights, x, n_heads, branches)[:, 0])


def view_bottlenecks(
    weights: Weights, grid: Tensor, n_heads: int, present: Tensor, hidden: Tensor, branches: Tensor | None = None
) -> Tensor:
    """One view (D, H, W) -> unit vectors of CLS and of its hidden tokens, row by row, (1 + n, d).

    Tokens that are missing are not in the sequence at all; in place of hidden ones stands the mask token, if the
    weights have one.
    """
    at = "encoder.backbone"
    depth = len({name.split(".")[3] for name in weights if name.startswith(f"{at}.blocks.")})
    placed = positions(weights, f"{at}.pos_embed", *grid.shape[1:])
    sequence, wanted = [weights[f"{at}.cls_token"][0, 0] + placed[0]], [0]
    sequence += list(weights.get(f"{at}.register_tokens", placed[None, :0])[0])
    for row in range(grid.shape[1]):
        for column in range(grid.shape[2]):
            if not present[row, column]:
                continue
            cell = gelu(linear(weights, f"{at}.phi.0", grid[:, row, column]))
            if hidden[row, column]:
                wanted.append(len(sequence))
                cell = weights["mask_token"][0, 0] if "mask_token" in weights else cell
            sequence.append(cell + placed[1 + row * grid.shape[2] + column])
    branches = grid.new_ones(1, 2 * depth) if branches is None else branches
    return projected(weights, after_blocks(weights, torch.stack(sequence)[None], n_heads, branches)[0, wanted])


def after_blocks(weights: Weights, x: Tensor, n_heads: int, branches: Tensor) -> Tensor:
    """All tokens (B, N, dim) after all blocks."""
    for i in range(branches.shape[1] // 2):
        block, keep = f"encoder.backbone.blocks.{i}", branches[:, 2 * i : 2 * i + 2, None, None]
        x = x + keep[:, 0] * attention(weights, f"{block}.attn", layer_norm(weights, f"{block}.norm1", x), n_heads)
        hidden = gelu(linear(weights, f"{block}.mlp.fc1", layer_norm(weights, f"{block}.norm2", x)))
        x = x + keep[:, 1] * linear(weights, f"{block}.mlp.fc2", hidden)
    return x


def projected(weights: Weights, x: Tensor) -> Tensor:
    """Outputs of the blocks (B, dim) -> unit vectors (B, d)."""
    h = layer_norm(weights, "encoder.backbone.norm", x)
    h = gelu(linear(weights, "encoder.head.mlp.0", h))
    h = gelu(linear(weights, "encoder.head.mlp.2", h))
    h = linear(weights, "encoder.head.mlp.4", h)
    return h / h.square().sum(1, keepdim=True).sqrt()
