"""Patches to the size that an encoder was trained on, as Pillow scales pictures: to the bit."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_ONE = 1 << 22  # Pillow's weights are whole numbers of as many parts
_SUPPORT = {"bilinear": 1.0, "bicubic": 2.0}  # px on either side, where nothing is made smaller


def scaled(image: Tensor, side_px: int, interpolation: str) -> Tensor:
    """Whole numbers in [0, 255], float (B, 3, h, w), -> the same (B, 3, side_px, side_px), with antialiasing.

    Published transforms scale 8-bit pictures by Pillow: across, rounded to 8 bits, then down, rounded again, with
    weights that are rounded, too. A sum of such products is exact in double precision, so this gives the same pixels.

    Args:
        image: patches; unchanged where they have the size already.
        side_px: px on a side afterwards.
        interpolation: ``bicubic`` or ``bilinear``.
    """
    for side in (3, 2):
        if image.shape[side] != side_px:
            weights = _weights(image.shape[side], side_px, interpolation, image.device)
            rows = image.double() @ weights if side == 3 else weights.T @ image.double()
            image = ((rows + _ONE // 2) / _ONE).floor().clamp(0, 255).float()
    return image


def middle(image: Tensor, side_px: int) -> Tensor:
    """The central square of images (B, 3, h, w) -> (B, 3, side_px, side_px), cut as torchvision cuts it."""
    top, left = (round((side - side_px) / 2) for side in image.shape[2:])
    return image[:, :, top : top + side_px, left : left + side_px]


@lru_cache(maxsize=8)
def _weights(n_in: int, n_out: int, interpolation: str, device: torch.device) -> Tensor:
    """What each of ``n_in`` px gives to each of ``n_out``, [n_in, n_out], whole numbers whose columns sum to 2^22."""
    scale = n_in / n_out
    wide = max(scale, 1.0)
    centers = (np.arange(n_out) + 0.5) * scale
    reach = _SUPPORT[interpolation] * wide
    places = np.arange(n_in)[:, None]
    first, last = (np.trunc(np.clip(centers + side * reach + 0.5, 0, n_in)) for side in (-1, 1))
    shares = _kernel(np.abs(places - centers + 0.5) / wide, interpolation)
    shares = np.where((places >= first) & (places < last), shares, 0.0)
    shares = shares / shares.sum(0)
    return torch.from_numpy(np.trunc(shares * _ONE + np.copysign(0.5, shares))).to(device)


def _kernel(x: NDArray[np.float64], interpolation: str) -> NDArray[np.float64]:
    """Keys' cubic with a = -1/2, or the triangle, at distances ``x`` >= 0."""
    if interpolation == "bilinear":
        return np.maximum(1 - x, 0)
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))
