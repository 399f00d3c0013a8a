"""Checkpoints with the names, containers and prefixes of HIPT's and DINO's files, and random numbers inside."""

from argparse import Namespace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


def linear(name: str, rows: int, columns: int) -> dict[str, tuple[int, ...]]:
    """Shapes of a layer's weight and bias."""
    return {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}


def backbone(dim: int, depth: int, n_positions: int, first: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Tensors of a ViT under the published names."""
    shapes: dict[str, tuple[int, ...]] = {"cls_token": (1, 1, dim), "pos_embed": (1, n_positions, dim), **first}
    for i in range(depth):
        shapes |= {f"blocks.{i}.norm{n}.{kind}": (dim,) for n in (1, 2) for kind in ("weight", "bias")}
        shapes |= linear(f"blocks.{i}.attn.qkv", 3 * dim, dim) | linear(f"blocks.{i}.attn.proj", dim, dim)
        shapes |= linear(f"blocks.{i}.mlp.fc1", 4 * dim, dim) | linear(f"blocks.{i}.mlp.fc2", dim, 4 * dim)
    shapes |= {"norm.weight": (dim,), "norm.bias": (dim,)}
    return {name: torch.randn(shape) * 0.1 for name, shape in shapes.items()}


def patch_backbone(dim: int = 384, depth: int = 12, n_positions: int = 197) -> dict[str, Tensor]:
    """vit256_small_dino: pixels to tokens, 14 x 14 + 1 positions."""
    first = {"patch_embed.proj.weight": (dim, 3, 16, 16), "patch_embed.proj.bias": (dim,)}
    return backbone(dim, depth, n_positions, first)


def region_backbone(dim: int = 192, depth: int = 6, in_dim: int = 384) -> dict[str, Tensor]:
    """vit4k_xs_dino: tokens to a region's embedding."""
    return backbone(dim, depth, 197, linear("phi.0", dim, in_dim))


def head(dim: int, hidden: int = 64, bottleneck: int = 256, out_dim: int = 32) -> dict[str, Tensor]:
    """DINO's head, last layer included."""
    shapes = linear("mlp.0", hidden, dim) | linear("mlp.2", hidden, hidden) | linear("mlp.4", bottleneck, hidden)
    shapes |= {"last_layer.weight_g": (out_dim, 1), "last_layer.weight_v": (out_dim, bottleneck)}
    return {name: torch.randn(shape) * 0.1 for name, shape in shapes.items()}


def save_checkpoint(path: Path, body: dict[str, Tensor], top: dict[str, Tensor]) -> dict[str, Any]:
    """As DINO writes it: teacher without, student with ``module.``, optimizer, epoch and the command line."""
    inner = {f"backbone.{k}": v for k, v in body.items()} | {f"head.{k}": v for k, v in top.items()}
    checkpoint = {
        "student": {f"module.{k}": torch.zeros_like(v) for k, v in inner.items()},
        "teacher": inner,
        "optimizer": {
            "state": {0: {"step": 3, "exp_avg": torch.zeros(2)}},
            "param_groups": [{"lr": 5e-4, "params": [0]}],
        },
        "epoch": 100,
        "args": Namespace(arch="vit_small", lr=5e-4, local_crops_scale=(0.05, 0.4), fp16=True),
        "dino_loss": {"center": torch.zeros(1, 32)},
    }
    torch.save(checkpoint, path)
    return checkpoint
