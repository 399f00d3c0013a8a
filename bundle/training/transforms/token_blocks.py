"""Blocks of tokens that a student is not to see."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.transforms import Transform
from torch import Tensor

from ...core import SettingError, as_number
from ...parallel import keyed_uniforms
from .keyed import KeyedRandomizable

_STREAM = 5 << 20  # far from the streams of crops, of stochastic depth, of shifts and of fillings
_ROUND = 1 << 8  # streams of one block: more than there are views
_LEAST_AREA = 4  # tokens of a block, unless fewer are left to hide
_LEAST_ASPECT = 0.3  # height over width, and width over height


class RandTokenBlocks(KeyedRandomizable, Transform):
    """Hides blocks of tokens in a share of the views, until a ratio of those that are there is hidden [1, 2].

    A hidden view's ratio is uniform in ``ratio``, of its tokens rounded down. Block after block: an area uniform from 4
    to what is left, height over width log-uniform from .3 to 1 / .3, cut to the view; it lies so that it holds a token,
    each as likely, that is there and not yet hidden, at any of its own places. (In [1] and [2] blocks lie anywhere, and
    tries that hide nothing, or too much, are given up.) Tokens that are missing are neither hidden nor counted. Drawn
    from (seed, epoch, region id, view) alone.

    Args:
        ratio: share of a view's tokens, two numbers in [0, 1], or one.
        share: of the views in which tokens are hidden, in [0, 1].
        seed: first part of the key.

    Raises:
        SettingError: an argument out of range.

    References:
        [1] Bao et al., "BEiT", ICLR 2022, algorithm 1. [2] Zhou et al., "iBOT", ICLR 2022.
    """

    def __init__(self, ratio: float | Sequence[float] = (0.1, 0.5), share: float = 0.5, seed: int = 0) -> None:
        super().__init__(seed)
        self.ratio = _as_range(ratio)
        self.share = as_number(share, "mask_share", 0, 1)
        self.n_hidden = torch.zeros(0, 0, dtype=torch.int64)

    def randomize(self, data: tuple[Tensor, Tensor, int]) -> None:
        """Choose ``n_hidden`` [v, B], how many tokens of each view.

        Args:
            data: which tokens of v views are there, bool [v, B, H, W], ids [B] beside them, epoch.
        """
        present, ids, epoch = data
        draws = keyed_uniforms(self.seed, epoch, ids, _STREAM, len(present), 2).double()
        low, high = self.ratio
        wanted = (low + draws[..., 1] * (high - low)) * present.flatten(2).sum(2)
        self.n_hidden = torch.where(draws[..., 0] < self.share, wanted, 0.0).long()

    def __call__(self, present: Tensor, region_ids: Tensor, epoch: int) -> Tensor:
        """Which tokens are hidden, bool [v, B, H, W].

        Args:
            present: tokens of v views that are there, bool [v, B, H, W].
            region_ids: integers [B], beside them.
            epoch: second part of the key.
        """
        self.randomize((present, region_ids, epoch))
        free, left, n_blocks = present.clone(), self.n_hidden.clone(), 0
        while bool((left > 0).any()):  # a block hides one token at least
            n_blocks += 1
            stream = _STREAM + n_blocks * _ROUND
            draws = keyed_uniforms(self.seed, epoch, region_ids, stream, len(present), 5).double()
            block = _blocks(free, left, draws) & free & (left > 0)[..., None, None]
            free &= ~block
            left -= block.flatten(2).sum(2)
        return present & ~free


class RandTokenBlocksd(Transform):
    """A view maker whose first group then has ``hidden``, bool [v, B, s, s], where there is a weight.

    Args:
        view_maker: dictionary transform that adds ``views`` and, where tokens are missing, ``shown``.
        weight: of the task; 0 hides nothing.
        ratio, share, seed: see :class:`RandTokenBlocks`.
    """

    def __init__(
        self,
        view_maker: Callable[[Mapping[Hashable, Any]], dict[Hashable, Any]],
        weight: float = 0.0,
        ratio: float | Sequence[float] = (0.1, 0.5),
        share: float = 0.5,
        seed: int = 0,
    ) -> None:
        self.view_maker = view_maker
        blocks = RandTokenBlocks(ratio, share, seed)
        self.blocks = blocks if as_number(weight, "mask_weight", low=0) > 0 else None

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """A batch with what the view maker reads, ``region_id`` [B] and ``epoch`` -> with ``views`` and ``hidden``."""
        batch = self.view_maker(data)
        if self.blocks is not None:
            n_views, n_regions, _, height, width = batch["views"][0].shape
            ids = batch["region_id"]
            present = ids.new_ones(n_views, n_regions, height, width, dtype=torch.bool)
            if "shown" in batch:
                present = batch["shown"][0]
            batch["hidden"] = self.blocks(present, ids, int(batch["epoch"]))
        return batch


def _blocks(free: Tensor, left: Tensor, draws: Tensor) -> Tensor:
    """A block of each grid [v, B, H, W], bool, of at most ``left`` [v, B] cells, that has one of the free cells.

    ``draws`` [v, B, 5] are uniforms: area, aspect, which free cell, which row and column of the block it is in.
    """
    height, width = free.shape[2:]
    least = left.clamp(max=_LEAST_AREA)
    area = (least + draws[..., 0] * (left - least + 1)).floor()
    aspect = ((2 * draws[..., 1] - 1) * math.log(1 / _LEAST_ASPECT)).exp()
    n_rows = torch.minimum((area * aspect).sqrt().round(), area).clamp(1, height)
    n_columns = (area / n_rows).floor().clamp(1, width)
    counts = free.flatten(2).cumsum(2)
    wanted = (draws[..., 2] * counts[..., -1]).long()
    cell = torch.searchsorted(counts, wanted.unsqueeze(-1), right=True).squeeze(-1).clamp(max=height * width - 1)
    places = (cell // width, draws[..., 3], n_rows, height), (cell % width, draws[..., 4], n_columns, width)
    rows, columns = (_line(*place) for place in places)
    return rows.unsqueeze(-1) & columns.unsqueeze(-2)


def _line(cell: Tensor, draw: Tensor, length: Tensor, n_cells: int) -> Tensor:
    """Cells of a line, bool [v, B, n], of a piece of so many cells that has a given one at a drawn place."""
    first = torch.minimum((cell - (draw * length).floor()).clamp(min=0), n_cells - length).unsqueeze(-1)
    cells = torch.arange(n_cells, device=cell.device)
    return (cells >= first) & (cells < first + length.unsqueeze(-1))


def _as_range(ratio: float | Sequence[float]) -> tuple[float, float]:
    ends = list(ratio) if isinstance(ratio, list | tuple) else [ratio, ratio]
    try:
        low, high = (as_number(end, "mask_ratio", 0, 1) for end in ends)
    except ValueError as error:
        raise SettingError(f"mask_ratio must be a share from 0 to 1, or two: got {ratio!r}.") from error
    if low > high:
        raise SettingError(f"mask_ratio goes from the lower share to the higher: got {ratio!r}.")
    return low, high
