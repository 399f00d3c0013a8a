"""Views without gaps: what is missing is filled by tissue of the same region, other tissue in every view.

Left as zeros, the outline of the tissue is what all crops of a region share. Filled at random, and anew for each view,
it is nothing that two views have in common, and the network sees full grids, with no mask.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.transforms import Transform
from torch import Tensor

from ...core import SettingError, as_bool
from ...parallel import hand_over, keyed_uniforms
from ...storage import TokenDataset
from .keyed import KeyedRandomizable
from .token_statistics import evenly

_STREAM = 1 << 22  # far from the streams of crops, of stochastic depth and of shifts
_REGIONS, _TOKENS = 8, 256  # of a slide, that lend to its regions without tissue


class Spare(NamedTuple):
    """Tissue of slides, for those of their regions that have none.

    Attributes:
        rows: of ``tokens``, for each of N regions, int64 [N]; -1: it has tissue, or its slide has none.
        tokens: [U, n, D], in the files' dtype.
    """

    rows: Tensor
    tokens: Tensor


def spare_tokens(dataset: TokenDataset) -> Spare | None:
    """What regions without tissue are filled with: 256 tokens of up to 8 other regions of their slide.

    None where every region has tissue. Slides without any lend nothing, and their regions stay as they are.
    """
    tissue = (dataset.masks & dataset.present).flatten(1)
    without = ~tissue.any(1)
    if not bool(without.any()):
        return None
    slides = dataset.slide_index.cpu()
    rows = torch.full_like(slides, -1)
    lent: list[Tensor] = []
    for slide in slides[without].unique().tolist():
        regions = np.flatnonzero(((slides == slide) & ~without).numpy())
        if len(regions):
            chosen = evenly(regions, _REGIONS)
            tokens = dataset.read(chosen).cpu().flatten(1, 2)[tissue[torch.from_numpy(chosen)]]
            rows[(slides == slide) & without] = len(lent)
            lent.append(tokens[torch.arange(_TOKENS) * len(tokens) // _TOKENS])
    return Spare(rows, torch.stack(lent)) if lent else None


class RandTokenFill(KeyedRandomizable, Transform):
    """A missing token of a view becomes a tissue token of its region, each as likely; the others stay.

    Drawn for every place by itself, from (seed, epoch, region id, view) alone. A region without tissue takes from other
    regions of its slide.

    Args:
        seed: first part of the key.
        spare: for regions without tissue (:func:`spare_tokens`); None: there are none, or they stay as they are.
    """

    def __init__(self, seed: int = 0, spare: Spare | None = None) -> None:
        super().__init__(seed)
        self.spare = spare
        self.draws = torch.zeros(0)

    def randomize(self, data: tuple[Tensor, int, int, int, int]) -> None:
        """Choose ``draws``, uniforms [v, B, n], for n places of v views.

        Args:
            data: region ids [B], epoch, number of the first view, v and n.
        """
        ids, epoch, first, n_views, n_places = data
        self.draws = keyed_uniforms(self.seed, epoch, ids, _STREAM + first, n_views, n_places)

    def __call__(
        self, views: list[Tensor], masks: list[Tensor], tokens: Tensor, tissue: Tensor, region_ids: Tensor, epoch: int
    ) -> list[Tensor]:
        """Groups of views (v, B, D, s, s) -> new ones of the same shapes.

        Args:
            views: as a view maker gives them.
            masks: which of their tokens are there, bool (v, B, s, s) of each group.
            tokens: the grids that they were cut from, [B, H, W, D].
            tissue: which of these are tissue and there, bool [B, H, W].
            region_ids: integers [B].
            epoch: second part of the key.
        """
        device, filled, number = views[0].device, [], 0
        ids = hand_over(region_ids, device)  # as many numbers as places: drawn where the views are
        for group, is_there in zip(views, masks, strict=True):
            self.randomize((ids, int(epoch), number, len(group), is_there[0, 0].numel()))
            number += len(group)
            found, has_any = _drawn_tissue(tokens, tissue, self.draws)
            self._borrow(found, has_any, region_ids)
            keeps = is_there | ~has_any[:, None, None]
            cells = found.view(*is_there.shape, -1).permute(0, 1, 4, 2, 3)
            filled.append(torch.where(keeps.unsqueeze(2), group, cells.float()))
        return filled

    def _borrow(self, found: Tensor, has_any: Tensor, region_ids: Tensor) -> None:
        """Put other regions' tissue where a region has none: into ``found`` [v, B, n, D] and ``has_any`` [B]."""
        if self.spare is None:
            return
        rows = self.spare.rows[region_ids.cpu()]
        if int(rows.max()) < 0:
            return
        regions = hand_over((rows >= 0).nonzero()[:, 0], found.device)
        lent = hand_over(self.spare.tokens[rows[rows >= 0]], found.device)  # [k, m, D]
        picked = (self.draws[:, regions] * lent.shape[1]).long()
        found[:, regions] = lent[torch.arange(len(lent), device=lent.device)[:, None], picked].to(found.dtype)
        has_any[regions] = True


class RandTokenFilld(Transform):
    """A view maker whose views are then filled by :class:`RandTokenFill`; ``none`` leaves them as they are.

    Filled views have no ``masks`` any more: there is nothing to leave out. ``shown`` stays: what stands in a gap is
    drawn, so that nobody can tell it from the tokens around.

    Args:
        view_maker: dictionary transform that adds ``views`` and, where they are to be filled, ``masks``.
        dataset: what regions without tissue take from, read once and only when needed.
        kind: ``none`` or ``tissue``.
        mask_missing: of the run; ``true`` asks for views with gaps.
        seed: see :class:`RandTokenFill`.

    Raises:
        SettingError: another kind, or views that are to be masked as well.
    """

    def __init__(
        self,
        view_maker: Callable[[Mapping[Hashable, Any]], dict[Hashable, Any]],
        dataset: TokenDataset,
        kind: str = "none",
        mask_missing: bool | str = "auto",
        seed: int = 0,
    ) -> None:
        if kind not in ("none", "tissue"):
            raise SettingError(f"fill_missing must be none or tissue: got {kind!r}.")
        if kind == "tissue" and mask_missing != "auto" and as_bool(mask_missing):
            raise SettingError(
                "fill_missing tissue and mask_missing true exclude each other: a view has its gaps filled, or masked. "
                "Set mask_missing to auto (views are filled; where whole regions are embedded, gaps are masked) or "
                "false, or fill_missing to none."
            )
        self.view_maker = view_maker
        self.fill = RandTokenFill(seed, spare_tokens(dataset)) if kind == "tissue" else None

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """A batch with what the view maker reads, ``mask`` and ``present`` [B, H, W] -> with ``views``."""
        batch = self.view_maker(data)
        if self.fill is not None:
            tokens, mask = batch["features"], batch["mask"]
            tissue = hand_over(mask, tokens.device) & hand_over(batch["present"], tokens.device)
            key = batch["region_id"], int(batch["epoch"])
            batch["views"] = self.fill(batch["views"], batch.pop("masks"), tokens, tissue, *key)
        return batch


def _drawn_tissue(tokens: Tensor, tissue: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
    """A tissue token of each region [B, H, W, D] for each draw [v, B, n], [v, B, n, D], and which have any, [B]."""
    is_tissue = tissue.flatten(1)
    counts = is_tissue.sum(1)
    places = is_tissue.byte().argsort(dim=1, descending=True, stable=True)  # those with tissue first, in their order
    rank = (draws.double() * counts[:, None]).long()  # 0 where there is none
    n_regions, n_places = places.shape
    first = torch.arange(n_regions, device=places.device)[:, None] * n_places
    cells = (places + first).expand(len(draws), -1, -1).gather(2, rank)
    picked = tokens.reshape(-1, tokens.shape[-1]).index_select(0, cells.flatten())
    return picked.view(*cells.shape, -1), counts > 0
