"""DINO's projection head in two parts: the MLP that encoders keep, the wide last layer that only training needs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core import as_whole
from .vit import initialize_linear


class ProjectionHead(nn.Module):
    """Three linear layers with GELU between, then L2 normalization: the "bottleneck" in which prototypes live.

    Args:
        in_dim: width of the backbone's output.
        hidden: width of the two hidden layers.
        bottleneck: width d of the output.

    References:
        Caron et al., "Emerging properties in self-supervised vision transformers", ICCV 2021, appendix C.
    """

    def __init__(self, in_dim: int = 192, hidden: int = 2048, bottleneck: int = 256) -> None:
        super().__init__()
        hidden, bottleneck = as_whole(hidden, "hidden_dim", 1), as_whole(bottleneck, "bottleneck_dim", 1)
        self.mlp = nn.Sequential(
            nn.Linear(in_dim, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, bottleneck)
        )
        self.apply(initialize_linear)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_dim) -> float32 unit vectors (B, bottleneck), under autocast, too."""
        return F.normalize(self.mlp(x).float(), dim=-1)


class LastLayer(nn.Module):
    """Weight-normed linear layer without bias; its gain ``weight_g`` is kept for the file format and fixed at 1.

    The product with it, and the normalization of its rows, are the loss's business, which fuses them with what follows:
    a normalized copy would be as large as the layer, at every step, for student and teacher, with a gradient as well.

    Args:
        bottleneck: width d of its input.
        out_dim: number of outputs K.
    """

    weight_g: Tensor

    def __init__(self, bottleneck: int = 256, out_dim: int = 65536) -> None:
        super().__init__()
        bottleneck, out_dim = as_whole(bottleneck, "bottleneck_dim", 1), as_whole(out_dim, "out_dim", 2)
        bound = bottleneck**-0.5  # torch's default for a linear layer, which DINO leaves as it is
        self.weight_v = nn.Parameter(torch.empty(out_dim, bottleneck).uniform_(-bound, bound))
        self.weight_g = nn.Parameter(torch.ones(out_dim, 1), requires_grad=False)
