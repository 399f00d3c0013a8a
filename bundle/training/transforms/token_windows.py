"""Square windows of token grids, chosen by how many of their tokens are there."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad


def tokens_in_windows(present: Tensor, size: int) -> Tensor:
    """How many tokens each window of ``size`` x ``size`` has.

    Args:
        present: bool [B, H, W], tokens that are there.
        size: at most H and W.

    Returns:
        Integers [B, H - size + 1, W - size + 1], by the window's top row and left column.
    """
    sums = pad(present.long().cumsum(1).cumsum(2), (1, 0, 1, 0))
    below = sums[:, size:] - sums[:, :-size]
    return below[:, :, size:] - below[:, :, :-size]


def draw_windows(present: Tensor, size: int, draws: Tensor) -> tuple[Tensor, Tensor]:
    """Windows at random, each as likely as it has tokens; of a grid without any, all alike.

    That is uniform where all tokens are there, and gives no window without one where some are.

    Args:
        present: bool [B, H, W].
        size: tokens on a window's side.
        draws: uniforms in [0, 1), float64, [v, B].

    Returns:
        Top rows and left columns, integers [v, B].
    """
    counts = tokens_in_windows(present, size)
    steps = counts.flatten(1).cumsum(1)
    steps = torch.where(steps[:, -1:] > 0, steps, torch.arange(1, steps.shape[1] + 1, device=steps.device))
    wanted = (draws * steps[:, -1]).long()
    place = torch.searchsorted(steps, wanted.T.contiguous(), right=True).T
    return place // counts.shape[2], place % counts.shape[2]


def fullest_windows(present: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The window with the most tokens, of several the one closest to the middle: of a full grid, its middle.

    Args:
        present: bool [B, H, W].
        size: tokens on a window's side.

    Returns:
        Top rows and left columns, integers [B].
    """
    counts = tokens_in_windows(present, size)
    rows, columns = (torch.arange(n, device=present.device) - (n - 1) // 2 for n in counts.shape[1:])
    far = rows.square()[:, None] + columns.square()
    place = (counts * (int(far.max()) + 1) - far).flatten(1).argmax(1)
    return place // counts.shape[2], place % counts.shape[2]
