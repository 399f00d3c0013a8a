"""The views of a training on token grids, from crops to what is asked for beside them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from ...storage import TokenDataset
from .token_blocks import RandTokenBlocksd
from .token_fill import RandTokenFilld
from .token_shift import RandTokenShiftd

ViewMaker = Callable[[Mapping[Hashable, Any]], dict[Hashable, Any]]  # a batch -> the same with ``views``


def token_views(
    crops: ViewMaker,
    dataset: TokenDataset,
    seed: int = 0,
    mask_missing: bool | str = "auto",
    fill_missing: str = "none",
    token_shift: str = "none",
    token_shift_strength: float = 1.0,
    token_shift_region_spread: bool = False,
    mask_weight: float = 0.0,
    mask_ratio: float | Sequence[float] = (0.1, 0.5),
    mask_share: float = 0.5,
) -> ViewMaker:
    """Crops, with tissue in their gaps, another stain or focus, and blocks that the student does not see, as asked for.

    Args:
        crops: makes the views (:class:`~bundle.training.RandTokenCropsd`).
        dataset: the tokens, for what an option asks of the whole cohort.
        seed: of all that is drawn.
        mask_missing: of the run.
        fill_missing: kind of :class:`~bundle.training.RandTokenFilld`.
        token_shift, token_shift_strength, token_shift_region_spread: see :class:`~bundle.training.RandTokenShiftd`.
        mask_weight, mask_ratio, mask_share: see :class:`~bundle.training.RandTokenBlocksd`.
    """
    filled = RandTokenFilld(crops, dataset, fill_missing, mask_missing, seed)
    shifted = RandTokenShiftd(filled, dataset, token_shift, token_shift_strength, seed, token_shift_region_spread)
    return RandTokenBlocksd(shifted, mask_weight, mask_ratio, mask_share, seed)
