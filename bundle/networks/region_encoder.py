"""The region encoder that inference, export and servers build, with or without weights at hand."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from torch import Tensor, nn

from ..cohort import as_bool
from .encoder import Encoder
from .from_weights import load_region_encoder
from .head import ProjectionHead
from .vit import RegionViT

_log = logging.getLogger(__name__)


def make_region_encoder(weights: str | Path | None, *, device: torch.device | str = "cpu") -> Encoder:
    """The region encoder of a file; where there is no file, an untrained one of the published size.

    The latter is for those who build a network first and load weights into it later: MONAI's export, the Model Zoo's
    checks, MONAI Label. It takes tokens of 384 values and gives 192.

    Args:
        weights: see :func:`~bundle.networks.load_region_encoder`.
        device: where it goes.

    Raises:
        BundleError: the file is broken, or holds no region encoder.
    """
    if weights is not None and Path(weights).is_file():
        return load_region_encoder(weights, device=device)
    _log.warning("there is no region encoder at %s: one of the published size is made, untrained", weights)
    return Encoder(RegionViT(), ProjectionHead()).to(device).eval()


class RegionDescriber(nn.Module):
    """All that is wanted of a region, in one pass.

    Args:
        encoder: the region encoder.
        attention: whether CLS's attention is wanted, too.
    """

    def __init__(self, encoder: Encoder, attention: bool = True) -> None:
        super().__init__()
        self.encoder = encoder
        self.attends = as_bool(attention)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Token grids (B, D, H, W) -> ``pred`` (B, dim), ``projection`` (B, d) and ``attention`` (B, heads, H, W)."""
        attention = {}
        if self.attends:
            backbone = self.encoder.backbone
            pred, attention["attention"] = backbone.encode_and_attend(backbone.embed(image))  # type: ignore[operator]
        else:
            pred = self.encoder(image)
        return {"pred": pred, "projection": self.encoder.project_embedding(pred), **attention}
