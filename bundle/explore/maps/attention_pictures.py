"""Where the region encoder looks, over a training."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from monai.networks.utils import eval_mode
from numpy.typing import NDArray
from torch import nn

from ...core import as_amp
from ...storage import TokenDataset, relative_attention
from .layers import Layer
from .map_picture import faded, slide_picture, tinted
from .map_request import Thumbnail
from .token_raster import TokenRaster

_LIMITS = (0.0, 3.0)  # fixed, so that epochs compare: up to three times what tissue gets on the mean
_WIDTH_PX = 512


class AttentionPictures:
    """Call for name -> RGB picture of the mean of CLS's heads over a few slides, always the same ones and colors.

    The scale goes from 0 (black) over what tissue gets on the mean to three times as much (pale yellow).

    Args:
        encoder: has ``attention``, [B, D, P, P] and [B, P, P] -> [B, heads, P, P] (the teacher's).
        dataset: the regions.
        thumbnail: slide id -> (RGB uint8 [h, w, 3], its um/px), or None where there is no such slide file.
        n_slides: the first ones of the data set.
        n_regions: of each at most, the first ones: a fraction of a second on a CPU, nothing on a GPU.
        device: where to compute.
        amp: bfloat16 autocast.
    """

    def __init__(
        self,
        encoder: nn.Module,
        dataset: TokenDataset,
        thumbnail: Callable[[str], Thumbnail | None] | None = None,
        n_slides: int = 3,
        n_regions: int = 24,
        device: torch.device | str = "cpu",
        amp: bool = False,
    ) -> None:
        self.encoder = encoder
        self.dataset = dataset
        self.thumbnail = thumbnail
        self.n_slides = min(int(n_slides), len(dataset.slide_ids))
        self.n_regions = int(n_regions)
        self.device = torch.device(device)
        self.uses_bf16 = as_amp(amp)

    def __call__(self) -> dict[str, NDArray[np.uint8]]:
        """Pictures [h, 512, 3]."""
        return {f"attention/{self.dataset.slide_ids[slide]}": self._draw(slide) for slide in range(self.n_slides)}

    def _draw(self, slide: int) -> NDArray[np.uint8]:
        regions = torch.nonzero(self.dataset.slide_index == slide)[: self.n_regions, 0].numpy()
        mask = self.dataset.masks[regions].numpy()
        raster = self._raster(slide, regions, mask)
        values = raster.paint(relative_attention(self._attention(regions), mask).mean(1))
        found = None if self.thumbnail is None else self.thumbnail(self.dataset.slide_ids[slide])
        ground = faded(slide_picture(raster, found, _WIDTH_PX))
        return tinted(ground, Layer("attention", "attention", "Attention", "attention", values, _LIMITS), raster)

    def _raster(self, slide: int, regions: NDArray[np.int64], mask: NDArray[np.bool_]) -> TokenRaster:
        attributes = self.dataset.headers[slide].attributes
        coords, size = self.dataset.coords[regions].numpy(), float(attributes.get("region_size_level0", 4096))
        right, bottom = (coords.max(0) + size).tolist()
        level0_size = int(attributes.get("level0_width", right)), int(attributes.get("level0_height", bottom))
        return TokenRaster.lay(coords, size, mask, float(attributes.get("level0_mpp", 0.5)), level0_size)

    @torch.no_grad()
    def _attention(self, regions: NDArray[np.int64]) -> NDArray[np.float32]:
        tokens = self.dataset.read(regions).to(self.device).float().permute(0, 3, 1, 2)
        present = self.dataset.present[regions].to(self.device)
        with eval_mode(self.encoder), torch.autocast(self.device.type, torch.bfloat16, self.uses_bf16):
            return self.encoder.attention(tokens, present).float().cpu().numpy()  # type: ignore[operator]
