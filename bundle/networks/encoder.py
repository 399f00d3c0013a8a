"""What a bundle ships: backbone and projection in one scriptable network."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Encoder(nn.Module):
    """``forward`` embeds, ``project`` goes on to the bottleneck in which prototypes live.

    Its state dict is ``models/model.pt``: ``backbone.*`` and ``head.mlp.*``.

    Args:
        backbone: image -> [B, dim], takes ``draws`` (:class:`~bundle.networks.RegionViT`, :class:`PatchViT`).
        head: [B, dim] -> [B, d] of unit length (:class:`~bundle.networks.ProjectionHead`).
    """

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, image: Tensor) -> Tensor:
        """Images (B, C, H, W) -> embeddings (B, dim)."""
        return self.backbone(image)

    @torch.jit.export
    def project(self, image: Tensor, draws: Tensor | None = None) -> Tensor:
        """Images (B, C, H, W) -> L2-normalized bottlenecks (B, d); ``draws``: stochastic depth (B, n_draws)."""
        return self.head(self.backbone(image, draws))

    @torch.jit.export
    def project_embedding(self, embedding: Tensor) -> Tensor:
        """What ``forward`` gave (B, dim) -> what ``project`` would have given (B, d)."""
        return self.head(embedding)


def compile_backbone(encoder: Encoder, device: torch.device | str) -> None:
    """``torch.compile`` the backbone in place.

    On a CPU stochastic depth changes shapes in every step. On a GPU each kind of crops has one shape, and is compiled
    for it (some 10 s each, torch keeps the result on disk).
    """
    encoder.backbone.compile(dynamic=torch.device(device).type == "cpu")
