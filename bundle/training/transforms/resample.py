"""Cutting a box out of each image, resizing it with antialiasing and blurring it, batched.

Resizing is linear and separable: rows and columns are each multiplied by a matrix of the sample's own. A batch of
boxes of different size is then two batched products, on any device, and a flip is a reversed matrix.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def resize_matrix(start: Tensor, length: Tensor, n_in: int, n_out: int, is_flipped: Tensor | None = None) -> Tensor:
    """Weights that stretch the cells ``start .. start + length`` of a line to ``n_out`` cells.

    Linear interpolation where cells are enlarged, and a triangle as wide as two new cells where they are reduced
    (what ``interpolate(mode="bilinear", antialias=True)`` does), with no look outside the box.

    Args:
        start: first cell of the box, float [B].
        length: number of cells, float [B], start + length <= n_in.
        n_in: cells of the line.
        n_out: cells wanted.
        is_flipped: bool [B], reverse the result.

    Returns:
        float32 [B, n_out, n_in], rows sum to 1.
    """
    start, length = start.float()[:, None], length.float()[:, None]
    ratio = length / n_out
    steps = torch.arange(n_out, device=start.device) + 0.5
    if is_flipped is not None:
        steps = torch.where(is_flipped[:, None], n_out - steps, steps)
    centers = start + steps * ratio
    cells = torch.arange(n_in, device=start.device) + 0.5
    inside = ((cells > start) & (cells < start + length)).float()
    weights = (cells - centers.unsqueeze(-1)).abs_().div_(-ratio.clamp(min=1.0).unsqueeze(-1)).add_(1.0).clamp_(min=0.0)
    weights.mul_(inside.unsqueeze(1))
    return weights.div_(weights.sum(-1, keepdim=True))


def apply_separable(image: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """``rows @ image @ columns^T`` for each sample and channel.

    Args:
        image: [B, C, H, W].
        rows: [B, h, H].
        columns: [B, w, W].

    Returns:
        [B, C, h, w], contiguous.
    """
    B, C, H, W = image.shape  # noqa: N806
    across = torch.bmm(image.reshape(B, C * H, W), columns.transpose(1, 2)).view(B, C, H, columns.shape[1])
    return torch.matmul(rows.unsqueeze(1), across)


def blur(image: Tensor, sigma: Tensor, radius: int) -> Tensor:
    """Gaussian blur of each sample with its own width; edges are repeated.

    Sums of shifted images: three times quicker on a CPU than a matrix product, twice than a grouped convolution.

    Args:
        image: [B, C, H, W].
        sigma: standard deviation in px, float [B], above 0.
        radius: px at which the Gaussian is cut, at least 3 sigma to be exact to 1 %.
    """
    steps = torch.arange(-radius, radius + 1, device=image.device)
    kernel = torch.exp(steps.square() * (-0.5 / sigma.float().square())[:, None])
    kernel = (kernel / kernel.sum(1, keepdim=True))[:, :, None, None, None]
    padded = F.pad(image, (radius, radius, radius, radius), mode="replicate")
    height, width = image.shape[-2:]
    down = padded[:, :, :height] * kernel[:, 0]
    for i in range(1, len(steps)):
        down.addcmul_(padded[:, :, i : i + height], kernel[:, i])
    out = down[..., :width] * kernel[:, 0]
    for i in range(1, len(steps)):
        out.addcmul_(down[..., i : i + width], kernel[:, i])
    return out
