"""Views that differ as slides differ: so that a slide's stain is no longer what all views of a region share.

All tokens of a slide carry its stain and scanner. Crops and flips leave that alone, which makes "whose slide is this"
the easiest answer to "which views belong together". Here each view gets the stain of another slide, as far as means and
spreads of channels tell one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.transforms import Transform
from torch import Tensor

from ...core import BundleError, SettingError, as_number
from ...parallel import hand_over, keyed_uniform
from ...storage import TokenDataset
from .keyed import KeyedRandomizable

_STREAM = 1 << 21  # far from the streams of crops and of stochastic depth
_KINDS = ("covariance", "swap")


def slide_statistics(dataset: TokenDataset, regions_per_slide: int = 8) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel over a slide's tissue tokens, float32 [S, D] each.

    Slides without tissue get the means over the others.

    Args:
        dataset: a :class:`~bundle.storage.TokenDataset`.
        regions_per_slide: at most so many are read, spread evenly over the slide's.

    Raises:
        BundleError: no slide has tissue.
    """
    index, masks = dataset.slide_index.cpu().numpy(), torch.as_tensor(dataset.masks).cpu()
    means, spreads = [], []
    for slide in range(int(index[-1]) + 1):
        regions = np.flatnonzero(index == slide)
        chosen = regions[np.linspace(0, len(regions) - 1, min(len(regions), regions_per_slide)).round().astype(int)]
        tokens = dataset.read(chosen).cpu()[masks[torch.from_numpy(chosen)]].float()
        unknown = tokens.new_full((tokens.shape[-1],), torch.nan)
        means.append(tokens.mean(0) if len(tokens) else unknown)
        spreads.append(tokens.std(0, correction=0) if len(tokens) else unknown)
    mean, spread = torch.stack(means), torch.stack(spreads)
    if not bool(mean.isfinite().all(1).any()):
        raise BundleError("token_shift needs tissue: no mask of any slide holds any; set token_shift to none.")
    return torch.where(mean.isnan(), mean.nanmean(0), mean), torch.where(spread.isnan(), spread.nanmean(0), spread)


class RandTokenShift(KeyedRandomizable, Transform):
    """Shifts and scales the channels of each view as slides differ from one another.

    With m and s a slide's channel means and spreads, a token t of one of its views becomes

    - ``covariance``: ``m + exp(a g) (t - m) + a h``; h is normal with the covariance of m between slides, g with that
      of log s;
    - ``swap``: ``(1 - a) t + a (m' + s' / s (t - m))``, with m', s' of another slide, each as likely.

    One draw a view, for all its tokens, from (seed, epoch, region id, view) alone. Tokens that are missing stay as they
    are.

    Args:
        means, spreads: of the tissue tokens of S slides, [S, D] (:func:`slide_statistics`).
        kind: ``covariance`` or ``swap``.
        strength: a, at least 0; at most 1 for ``swap``.
        seed: first part of the key.

    Raises:
        SettingError: another kind, a strength out of range, fewer than two slides.

    References:
        Zhou et al., "Domain generalization with MixStyle", ICLR 2021, for channel statistics of another image.
    """

    def __init__(
        self, means: Tensor, spreads: Tensor, kind: str = "covariance", strength: float = 1.0, seed: int = 0
    ) -> None:
        super().__init__(seed)
        if kind not in _KINDS or len(means) < 2:
            raise SettingError(
                f"token_shift must be none, {' or '.join(_KINDS)}, and needs at least 2 slides: got {kind!r} and "
                f"{len(means)} slide(s)."
            )
        self.kind = kind
        self.strength = as_number(strength, "token_shift_strength", 0.0, 1.0 if kind == "swap" else math.inf)
        self.means, self.spreads = means.float(), spreads.float().clamp(min=1e-6)
        self.factors = _factor(self.means), _factor(self.spreads.log())
        self.gain, self.offset = torch.ones(0), torch.zeros(0)

    def randomize(self, data: tuple[Tensor, Tensor, int, int]) -> None:
        """Choose ``gain`` and ``offset`` [B, D] of one view: ``gain * t + offset``.

        Args:
            data: slides [B] where the views are, region ids [B] anywhere, epoch, number of the view.
        """
        slides, ids, epoch, view = data
        device = slides.device
        if self.means.device != device:  # once: a copy in every step would make the host wait
            self.means, self.spreads = self.means.to(device), self.spreads.to(device)
            self.factors = self.factors[0].to(device), self.factors[1].to(device)
        means, spreads, (shifts, gains) = self.means, self.spreads, self.factors
        mean = means[slides]
        if self.kind == "swap":
            draw = hand_over(keyed_uniform(self.seed, epoch, ids, _STREAM + view, 1), device)[:, 0]
            other = (draw * (len(means) - 1)).long()
            other = other + (other >= slides).long()
            ratio = spreads[other] / spreads[slides]
            self.gain = 1 + self.strength * (ratio - 1)
            self.offset = self.strength * (means[other] - ratio * mean)
            return
        rank = len(shifts)
        draws = keyed_uniform(self.seed, epoch, ids, _STREAM + view, 2 * (rank + len(gains)))
        normals = _normal(hand_over(draws, device))
        self.gain = (self.strength * normals[:, rank:] @ gains).exp()
        self.offset = mean * (1 - self.gain) + self.strength * normals[:, :rank] @ shifts

    def __call__(
        self, views: list[Tensor], slides: Tensor, region_ids: Tensor, epoch: int, masks: Sequence[Tensor] | None = None
    ) -> list[Tensor]:
        """Groups of views (v, B, D, s, s) -> new ones of the same shapes.

        Args:
            views: as a view maker gives them.
            slides: slide of each region, [B].
            region_ids: integers [B].
            epoch: second part of the key.
            masks: which tokens are there, (v, B, s, s) of each group; None: those that are not zeros.
        """
        shifted, number = [], 0
        slides = hand_over(slides, views[0].device)
        there = masks or [(group != 0).any(2) for group in views]
        for group, is_token in zip(views, there, strict=True):
            gains, offsets = [], []
            for _ in range(len(group)):
                self.randomize((slides, region_ids, int(epoch), number))
                gains.append(self.gain)
                offsets.append(self.offset)
                number += 1
            gain, offset = (torch.stack(x)[..., None, None] for x in (gains, offsets))
            shifted.append(torch.where(is_token.unsqueeze(2), group * gain + offset, group))
        return shifted


class RandTokenShiftd(Transform):
    """A view maker whose views are then shifted by :class:`RandTokenShift`; ``none`` leaves them as they are.

    Args:
        view_maker: dictionary transform that adds ``views``.
        dataset: where the slides' statistics come from, read once and only when needed.
        kind: ``none``, ``covariance`` or ``swap``.
        strength, seed: see :class:`RandTokenShift`.
    """

    def __init__(
        self,
        view_maker: Callable[[Mapping[Hashable, Any]], dict[Hashable, Any]],
        dataset: TokenDataset,
        kind: str = "none",
        strength: float = 1.0,
        seed: int = 0,
    ) -> None:
        self.view_maker = view_maker
        self.shift: RandTokenShift | None = None
        if kind != "none":
            if kind not in _KINDS:
                raise SettingError(f"token_shift must be none, {' or '.join(_KINDS)}: got {kind!r}.")
            self.shift = RandTokenShift(*slide_statistics(dataset), kind, strength, seed)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """A batch with what the view maker reads, ``slide`` [B], ``region_id`` [B] and ``epoch`` -> with ``views``."""
        batch = self.view_maker(data)
        if self.shift is not None:
            key = batch["slide"], batch["region_id"], int(batch["epoch"])
            batch["views"] = self.shift(batch["views"], *key, batch.get("masks"))
        return batch


def _factor(rows: Tensor) -> Tensor:
    """F [r, D] with F^T F the covariance of rows [S, D]: normals [r] times F have it."""
    centered = (rows - rows.mean(0)) / math.sqrt(len(rows) - 1)
    _, lengths, directions = torch.linalg.svd(centered, full_matrices=False)
    return lengths[:, None] * directions


def _normal(uniforms: Tensor) -> Tensor:
    """Box and Muller's normals [B, n] from uniforms [B, 2 n] in [0, 1)."""
    radius, angle = uniforms.chunk(2, 1)
    return (-2 * torch.log1p(-radius)).sqrt() * (2 * math.pi * angle).cos()
