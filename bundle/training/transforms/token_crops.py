"""Crops of token grids for a whole batch at once.

MONAI's random crops take one sample a call and draw from a stream that depends on the order of calls; here a crop is a
function of (seed, epoch, region, view), and the batch is cropped by one gather on its own device.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import Transform
from torch import Tensor

from ...core import BundleError, SettingError, as_bool
from ...parallel import hand_over, keyed_uniforms
from .keyed import KeyedRandomizable, RandViewsd
from .token_windows import draw_windows, fullest_windows


class RandTokenCrops(KeyedRandomizable, Transform):
    """Global and local crops of token grids, each flipped left to right with some probability.

    The same (seed, epoch, id, view) gives the same crop in every batch, on every device. View v draws from stream v.
    Where tokens are missing, a crop is as likely as it has tokens.

    Args:
        n_global: number of global crops, the group that the teacher sees.
        global_size: tokens on a side of a global crop; one token is one 256 px patch.
        n_local: number of local crops; 0 gives the global group alone.
        local_size: tokens on a side of a local crop.
        flip_prob: probability of a flip, in [0, 1].
        seed: first part of the key.

    References:
        Caron et al., "Emerging properties in self-supervised vision transformers", ICCV 2021; Chen et al., CVPR 2022,
        for the sizes.
    """

    def __init__(
        self,
        n_global: int = 2,
        global_size: int = 14,
        n_local: int = 8,
        local_size: int = 6,
        flip_prob: float = 0.5,
        seed: int = 0,
    ) -> None:
        super().__init__(seed)
        if n_global < 1 or n_local < 0 or min(global_size, local_size) < 1 or not 0 <= flip_prob <= 1:
            raise SettingError(
                "RandTokenCrops needs n_global >= 1, n_local >= 0, sizes >= 1 and flip_prob in [0, 1]: got "
                f"{n_global}, {n_local}, {global_size}, {local_size}, {flip_prob}."
            )
        self.groups = [(int(n_global), int(global_size)), (int(n_local), int(local_size))]
        self.flip_prob = float(flip_prob)
        self.lines: list[Tensor] = []
        self.shown: list[Tensor] = []

    def randomize(self, data: tuple[Tensor, int, int, int, Tensor | None]) -> None:
        """Choose the cells of every view.

        Args:
            data: ids [B], epoch, rows and columns of a grid, and which tokens are there, bool [B, H, W] beside the ids,
                or None: all.

        Sets ``lines``: for each group LongTensor [2, v, B, s], the rows and the columns of a grid that a view shows,
        where the ids lie.
        """
        ids, epoch, height, width, present = data
        n_views = [n for n, _ in self.groups]
        draws = keyed_uniforms(self.seed, epoch, ids, 0, sum(n_views), 3).split(n_views)
        self.lines = [
            self._lines(own, size, height, width, present)
            for own, (n, size) in zip(draws, self.groups, strict=True)
            if n
        ]

    def _lines(self, draws: Tensor, size: int, height: int, width: int, present: Tensor | None) -> Tensor:
        if present is None:
            top = (draws[..., 0] * (height - size + 1)).long()
            left = (draws[..., 1] * (width - size + 1)).long()
        else:
            top, left = draw_windows(present, size, draws[..., 0])
        flipped = draws[..., 2] < self.flip_prob
        return _lines_of(top, left, size, flipped)

    def __call__(self, tokens: Tensor, region_ids: Tensor, epoch: int) -> list[Tensor]:
        """Token grids (B, H, W, D) -> groups of float32 views (v, B, D, s, s), strided so that a token is contiguous.

        Args:
            tokens: as stored, any floating dtype, channels last.
            region_ids: integers [B]; what is random is computed where they lie: on the host, if a GPU is to do
                other things.
            epoch: second part of the key.

        Raises:
            BundleError: the grid is smaller than a crop.
        """
        return self._views(tokens, region_ids, epoch, None)

    def with_masks(
        self, tokens: Tensor, region_ids: Tensor, epoch: int, present: Tensor
    ) -> tuple[list[Tensor], list[Tensor]]:
        """The same of grids in which tokens are missing.

        Args:
            tokens, region_ids, epoch: as above.
            present: bool [B, H, W] beside ``region_ids``, tokens that are there.

        Returns:
            Views, and which of their tokens are there: groups of bool (v, B, s, s), on the tokens' device; ``shown`` is
            the same beside ``present``.
        """
        views = self._views(tokens, region_ids, epoch, present)
        self.shown = [_picked(present.unsqueeze(-1), lines).squeeze(-1) for lines in self.lines]
        return views, [hand_over(mask, tokens.device) for mask in self.shown]

    def _views(self, tokens: Tensor, region_ids: Tensor, epoch: int, present: Tensor | None) -> list[Tensor]:
        _, height, width, _ = tokens.shape
        for n_views, size in self.groups:
            if n_views:
                _check_size(size, height, width)
        self.randomize((region_ids, int(epoch), height, width, present))
        return [_picked(tokens, lines).float().permute(0, 1, 4, 2, 3) for lines in self.lines]


class RandTokenCropsd(RandViewsd):
    """Dictionary twin of :class:`RandTokenCrops`: reads ``features``, ``region_id``, ``epoch``; adds ``views``.

    Args:
        keys: the key of the token grids [B, H, W, D].
        n_global, global_size, n_local, local_size, flip_prob, seed: see :class:`RandTokenCrops`.
        mask_missing: read ``present`` [B, H, W], too, prefer crops with tokens, and add ``masks`` of the views, and as
            ``shown`` the same where ``present`` is.
    """

    def __init__(
        self,
        keys: KeysCollection = "features",
        n_global: int = 2,
        global_size: int = 14,
        n_local: int = 8,
        local_size: int = 6,
        flip_prob: float = 0.5,
        seed: int = 0,
        mask_missing: bool = False,
    ) -> None:
        self.crops = RandTokenCrops(n_global, global_size, n_local, local_size, flip_prob, seed)
        super().__init__(keys, self.crops)
        self.mask_missing = as_bool(mask_missing)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """A batch -> the same with ``views`` and, where missing tokens are masked, ``masks``."""
        if not self.mask_missing:
            return super().__call__(data)
        batch = self.checked(data)
        key = batch["region_id"], int(batch["epoch"])
        batch["views"], batch["masks"] = self.crops.with_masks(batch[self.keys[0]], *key, batch["present"])
        batch["shown"] = self.crops.shown
        return batch


class CenterTokenCrop(Transform):
    """The middle of token grids, channel first; the odd token goes to the bottom and right.

    Args:
        size: tokens on a side.
    """

    def __init__(self, size: int = 14) -> None:
        self.size = int(size)

    def __call__(self, tokens: Tensor) -> Tensor:
        """Token grids (..., H, W, D) -> a view (..., D, size, size), no copy; a BundleError if the grid is smaller."""
        height, width = tokens.shape[-3:-1]
        _check_size(self.size, height, width)
        top, left = (height - self.size) // 2, (width - self.size) // 2
        middle = tokens[..., top : top + self.size, left : left + self.size, :]
        return middle.movedim(-1, -3)


class FullestTokenCrop(Transform):
    """The part of token grids with the most tokens, the one closest to the middle where there are several.

    Args:
        size: tokens on a side.
    """

    def __init__(self, size: int = 14) -> None:
        self.size = int(size)

    def __call__(self, tokens: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """Token grids (B, H, W, D) and what is there (B, H, W) -> a view (B, D, size, size) and its (B, size, size).

        Both are on the tokens' device.

        Raises:
            BundleError: the grid is smaller.
        """
        _check_size(self.size, *tokens.shape[1:3])
        top, left = fullest_windows(present, self.size)
        lines = _lines_of(top[None], left[None], self.size)
        shown = hand_over(_picked(present.unsqueeze(-1), lines)[0].squeeze(-1), tokens.device)
        return _picked(tokens, lines)[0].movedim(-1, -3), shown


def _lines_of(top: Tensor, left: Tensor, size: int, flipped: Tensor | None = None) -> Tensor:
    """Rows and columns of windows, [2, v, B, size], from their corners [v, B]; those of flipped ones run backwards."""
    steps = torch.arange(size, device=top.device)
    across = steps if flipped is None else torch.where(flipped.unsqueeze(-1), steps.flip(0), steps)
    return torch.stack([top.unsqueeze(-1) + steps, left.unsqueeze(-1) + across])


def _picked(grids: Tensor, lines: Tensor) -> Tensor:
    """Cells of grids [B, H, W, D] at rows and columns [2, v, B, s] -> [v, B, s, s, D]."""
    n_grids, height, width, n_values = grids.shape
    first = torch.arange(n_grids, device=lines.device).view(-1, 1) * (height * width)
    places = torch.stack([lines[0] * width + first, lines[1]])  # terms of places among the cells of all grids
    rows, columns = hand_over(places, grids.device)
    cells = rows.unsqueeze(-1) + columns.unsqueeze(-2)
    picked = grids.reshape(-1, n_values).index_select(0, cells.flatten())
    return picked.view(*cells.shape, n_values)


def _check_size(size: int, height: int, width: int) -> None:
    if size > min(height, width):
        raise BundleError(
            f"a crop of {size} x {size} tokens does not fit into a grid of {height} x {width}: "
            "set global_size and local_size to at most region_patches, or make tokens of larger regions."
        )
