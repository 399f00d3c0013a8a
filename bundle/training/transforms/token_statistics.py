"""What tells slides apart, and regions of one slide: means and spreads of channels over tissue tokens."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...core import BundleError
from ...storage import TokenDataset

_LEAST_TISSUE = 0.125  # share of a region's patches; the mean over fewer says more of these tokens than of the region


class RegionStatistics(NamedTuple):
    """Of N regions.

    Attributes:
        means, spreads: of each channel over a region's tissue tokens, float32 [N, D].
        slides: whose they are, int64 [N].
    """

    means: Tensor
    spreads: Tensor
    slides: Tensor


def slide_statistics(dataset: TokenDataset, regions_per_slide: int = 8) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel over a slide's tissue tokens, float32 [S, D] each.

    Slides without tissue get the means over the others.

    Args:
        dataset: a :class:`~bundle.storage.TokenDataset`.
        regions_per_slide: at most so many are read, spread evenly over the slide's.

    Raises:
        BundleError: no slide has tissue.
    """
    means, spreads = [], []
    for regions in _tissue_by_slide(dataset, regions_per_slide):
        tokens = torch.cat(regions)
        unknown = tokens.new_full((tokens.shape[-1],), torch.nan)
        means.append(tokens.mean(0) if len(tokens) else unknown)
        spreads.append(tokens.std(0, correction=0) if len(tokens) else unknown)
    mean, spread = torch.stack(means), torch.stack(spreads)
    if not bool(mean.isfinite().all(1).any()):
        raise BundleError("token_shift needs tissue: no mask of any slide holds any; set token_shift to none.")
    return torch.where(mean.isnan(), mean.nanmean(0), mean), torch.where(spread.isnan(), spread.nanmean(0), spread)


def region_statistics(dataset: TokenDataset, regions_per_slide: int = 8) -> RegionStatistics:
    """Mean and standard deviation of each channel over a region's tissue tokens.

    Regions with tissue in less than an eighth of their patches are left out.

    Args:
        dataset: a :class:`~bundle.storage.TokenDataset`.
        regions_per_slide: at most so many are read, spread evenly over the slide's.

    Raises:
        BundleError: no slide has two regions with tissue, so that nothing tells how its regions differ.
    """
    found, owners = [], []
    for slide, regions in enumerate(_tissue_by_slide(dataset, regions_per_slide)):
        least = _LEAST_TISSUE * math.prod(dataset.masks.shape[1:])
        rows = [torch.stack([x.mean(0), x.std(0, correction=0)]) for x in regions if len(x) >= max(1.0, least)]
        found += rows
        owners += [slide] * len(rows)
    if len(owners) == len(set(owners)):
        raise BundleError(
            "token_shift region and both need a slide with at least two regions that hold tissue in an eighth of their "
            "patches: there is none. Set token_shift to none or covariance."
        )
    means, spreads = torch.stack(found, 1)
    return RegionStatistics(means, spreads, torch.tensor(owners))


def between_factor(rows: Tensor) -> Tensor:
    """F [r, D] with F^T F the covariance of rows [S, D]: normals [r] times F have it."""
    return _factor((rows - rows.mean(0)) / math.sqrt(len(rows) - 1))


def within_factor(rows: Tensor, groups: Tensor) -> Tensor:
    """F [r, D] with F^T F the covariance of rows [N, D] around the means of their groups [N], pooled over groups.

    That is ``sum_n (x_n - m_g(n)) (x_n - m_g(n))^T / (N - number of groups)``: a group of one says nothing.
    """
    _, own = groups.unique(return_inverse=True)
    counts = torch.bincount(own)
    means = rows.new_zeros(len(counts), rows.shape[1]).index_add_(0, own, rows) / counts[:, None]
    return _factor((rows - means[own]) / math.sqrt(len(rows) - len(counts)))


def evenly(regions: NDArray[np.int64], n_most: int) -> NDArray[np.int64]:
    """At most so many of a slide's regions [n], spread evenly over them."""
    return regions[np.linspace(0, len(regions) - 1, min(len(regions), n_most)).round().astype(int)]


def _factor(scaled: Tensor) -> Tensor:
    _, lengths, directions = torch.linalg.svd(scaled, full_matrices=False)
    return lengths[:, None] * directions


def _tissue_by_slide(dataset: TokenDataset, regions_per_slide: int) -> Iterator[list[Tensor]]:
    """Tissue tokens [n, D], float32, of some regions of each slide, spread evenly over it."""
    index, masks = dataset.slide_index.cpu().numpy(), torch.as_tensor(dataset.masks).cpu()
    for slide in range(int(index[-1]) + 1):
        chosen = evenly(np.flatnonzero(index == slide), regions_per_slide)
        grids = dataset.read(chosen).cpu()
        yield [grid[mask].float() for grid, mask in zip(grids, masks[torch.from_numpy(chosen)], strict=True)]
