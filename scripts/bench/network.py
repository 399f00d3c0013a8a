"""Student, teacher and random regions at the paper's widths."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bundle.networks import Distiller, Encoder, LastLayer, ProjectionHead, RegionViT, frozen_copy
from bundle.prototypes import PrototypeTargets

TOKEN_DIM, BOTTLENECK = 384, 256


def student_and_teacher(
    device: str,
    out_dim: int = 65536,
    token_dim: int = TOKEN_DIM,
    dim: int = 192,
    mask_missing: bool = False,
    depth: int = 6,
) -> tuple[Distiller, Distiller]:
    """The recipe's networks with the same random weights; heads of 32 values, whatever the width ``dim``."""
    torch.manual_seed(0)
    encoder = Encoder(RegionViT(token_dim, dim, depth, n_heads=dim // 32), ProjectionHead(dim), mask_missing)
    student = Distiller(encoder, LastLayer(BOTTLENECK, out_dim)).to(device)
    return student, frozen_copy(student)


def tokens(n_regions: int, device: str, token_dim: int = TOKEN_DIM) -> Tensor:
    """Token grids (B, 16, 16, D) in float16, as the store keeps them."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n_regions, 16, 16, token_dim, generator=generator).half().to(device)


def prototypes(n_regions: int, device: str) -> PrototypeTargets:
    """Random prototypes of each region: its own slide's and one neighbor's."""
    generator = torch.Generator().manual_seed(1)
    vectors = F.normalize(torch.randn(2, n_regions, BOTTLENECK, generator=generator), dim=-1)
    return PrototypeTargets(vectors.to(device), torch.ones(2, n_regions, dtype=torch.bool, device=device))
