"""Views that differ as slides differ, or as regions of a slide do: so that a stain, or the focus, is no longer what all
views of a region share.

All tokens of a slide carry its stain and scanner, all tokens of a region its focus, thickness and local stain. Crops
and flips leave that alone, which makes "whose slide is this" and "which region is this" the easiest answers to "which
views belong together". Here each view gets the stain of another slide, or what sets another region of a slide apart, as
far as means and spreads of channels tell it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from monai.transforms import Transform
from torch import Tensor

from ...core import SettingError, as_bool, as_number
from ...parallel import hand_over, keyed_uniform
from ...storage import TokenDataset
from .keyed import KeyedRandomizable
from .token_statistics import RegionStatistics, between_factor, region_statistics, slide_statistics, within_factor

_STREAM = 1 << 21  # far from the streams of crops and of stochastic depth
_REGION_STREAM = 3 << 20  # a draw of its own: "both" is not one number for slide and region
_KINDS = ("covariance", "swap", "region", "both")
_LEAST_SPREAD = 1e-6


class _Source(NamedTuple):
    """Normals [r] times ``shifts`` [r, D] move the mean, others times ``gains`` [r', D] the logarithm of the spread."""

    shifts: Tensor
    gains: Tensor
    stream: int


class RandTokenShift(KeyedRandomizable, Transform):
    """Shifts and scales the channels of each view as slides differ from one another, or as regions of a slide do.

    With m and s a slide's channel means and spreads, a token t of one of its views becomes

    - ``covariance``: ``m + exp(a g) (t - m) + a h``; h is normal with the covariance of m between slides, g with that
      of log s;
    - ``swap``: ``(1 - a) t + a (m' + s' / s (t - m))``, with m', s' of another slide, each as likely;
    - ``region``: ``t + a h'``; h' is normal with the covariance of region means around their slide's, pooled over
      slides. With ``region_spread``: ``m + exp(a g') (t - m) + a h'``, g' with that of the logarithm of their spreads;
    - ``both``: ``covariance`` and ``region`` at once, each with draws of its own: h + h' and g (+ g').

    One draw a view, for all its tokens, from (seed, epoch, region id, view) alone. Tokens that are missing stay as they
    are.

    Args:
        means, spreads: of the tissue tokens of S slides, [S, D] (:func:`slide_statistics`).
        kind: ``covariance``, ``swap``, ``region`` or ``both``.
        strength: a, at least 0; at most 1 for ``swap``.
        seed: first part of the key.
        regions: of the same slides, for ``region`` and ``both`` (:func:`region_statistics`).
        region_spread: spreads differ from view to view, too, as those of regions do. What they hold of the tissue (fine
            mixtures spread less) is then hidden as well.

    Raises:
        SettingError: another kind, a strength out of range, fewer than two slides where slides are compared.

    References:
        Zhou et al., "Domain generalization with MixStyle", ICLR 2021, for channel statistics of another image.
    """

    def __init__(
        self,
        means: Tensor,
        spreads: Tensor,
        kind: str = "covariance",
        strength: float = 1.0,
        seed: int = 0,
        regions: RegionStatistics | None = None,
        region_spread: bool = False,
    ) -> None:
        super().__init__(seed)
        _check_kind(kind, len(means), regions)
        self.kind = kind
        self.strength = as_number(strength, "token_shift_strength", 0.0, 1.0 if kind == "swap" else math.inf)
        self.means, self.spreads = means.float(), spreads.float().clamp(min=_LEAST_SPREAD)
        self.sources = []
        if kind in ("covariance", "both"):
            slides = between_factor(self.means), between_factor(self.spreads.log())
            self.sources.append(_Source(*slides, _STREAM))
        if kind in ("region", "both") and regions is not None:
            self.sources.append(_region_source(regions, as_bool(region_spread)))
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
            self.sources = [_Source(x.shifts.to(device), x.gains.to(device), x.stream) for x in self.sources]
        means, spreads = self.means, self.spreads
        mean = means[slides]
        if self.kind == "swap":
            draw = hand_over(keyed_uniform(self.seed, epoch, ids, _STREAM + view, 1), device)[:, 0]
            other = (draw * (len(means) - 1)).long()
            other = other + (other >= slides).long()
            ratio = spreads[other] / spreads[slides]
            self.gain = 1 + self.strength * (ratio - 1)
            self.offset = self.strength * (means[other] - ratio * mean)
            return
        exponents, moves = [], []
        for shifts, gains, stream in self.sources:
            rank = len(shifts)
            draws = keyed_uniform(self.seed, epoch, ids, stream + view, 2 * (rank + len(gains)))
            normals = self.strength * _normal(hand_over(draws, device))
            exponents.append(normals[:, rank:] @ gains)
            moves.append(normals[:, :rank] @ shifts)
        self.gain = torch.stack(exponents).sum(0).exp()
        self.offset = mean * (1 - self.gain) + torch.stack(moves).sum(0)

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
        dataset: where the statistics come from, read once and only when needed.
        kind: ``none``, ``covariance``, ``swap``, ``region`` or ``both``.
        strength, seed, region_spread: see :class:`RandTokenShift`.
    """

    def __init__(
        self,
        view_maker: Callable[[Mapping[Hashable, Any]], dict[Hashable, Any]],
        dataset: TokenDataset,
        kind: str = "none",
        strength: float = 1.0,
        seed: int = 0,
        region_spread: bool = False,
    ) -> None:
        self.view_maker = view_maker
        self.shift: RandTokenShift | None = None
        if kind != "none":
            if kind not in _KINDS:
                raise SettingError(f"{_CHOICES}: got {kind!r}.")
            regions = region_statistics(dataset) if kind in ("region", "both") else None
            self.shift = RandTokenShift(*slide_statistics(dataset), kind, strength, seed, regions, region_spread)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """A batch with what the view maker reads, ``slide`` [B], ``region_id`` [B] and ``epoch`` -> with ``views``."""
        batch = self.view_maker(data)
        if self.shift is not None:
            key = batch["slide"], batch["region_id"], int(batch["epoch"])
            batch["views"] = self.shift(batch["views"], *key, batch.get("masks"))
        return batch


_CHOICES = f"token_shift must be none, {', '.join(_KINDS[:-1])} or {_KINDS[-1]}"


def _check_kind(kind: str, n_slides: int, regions: RegionStatistics | None) -> None:
    if kind not in _KINDS or (n_slides < 2 and kind != "region"):
        raise SettingError(
            f"{_CHOICES}, and all but region need at least 2 slides: got {kind!r} and {n_slides} slide(s)."
        )
    if kind in ("region", "both") and regions is None:
        raise SettingError(f"token_shift {kind} needs the statistics of regions: pass what region_statistics gives.")


def _region_source(regions: RegionStatistics, with_spread: bool) -> _Source:
    shifts = within_factor(regions.means.float(), regions.slides)
    if not with_spread:
        return _Source(shifts, shifts[:0], _REGION_STREAM)
    logs = regions.spreads.float().clamp(min=_LEAST_SPREAD).log()
    return _Source(shifts, within_factor(logs, regions.slides), _REGION_STREAM)


def _normal(uniforms: Tensor) -> Tensor:
    """Box and Muller's normals [B, n] from uniforms [B, 2 n] in [0, 1)."""
    radius, angle = uniforms.chunk(2, 1)
    return (-2 * torch.log1p(-radius)).sqrt() * (2 * math.pi * angle).cos()
