"""What a map can show: prototypes, similarity to them, attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core import SettingError
from ...storage import SlideEmbeddings, relative_attention
from .token_raster import TokenRaster

LAYERS = ("prototypes", "similarity", "attention")
_CLIPPED = (1.0, 99.0)  # percentiles of attention where its color scale ends
_LEAST_SPAN = 0.02


@dataclass(frozen=True)
class Layer:
    """One channel of a map.

    Attributes:
        kind: which of ``LAYERS``.
        name: for files and channels: ``prototypes``, ``similarity_1``, ``attention``, ``attention_head_1``.
        title: for people; ``short_title`` beside others of its kind.
        values: float32 [rows, columns] on the slide's raster, NaN where there is nothing. Prototypes: 1 to K, 0 for
            tissue without one; similarity: cosine; attention: see :func:`relative_attention`.
        limits: where a color scale begins and ends, the same for all layers of a kind; of attention these are the 1st
            and 99th percentile, so that a few tokens do not leave the others without colors.
    """

    kind: str
    name: str
    title: str
    short_title: str
    values: NDArray[np.float32]
    limits: tuple[float, float]


def slide_layers(
    slide: SlideEmbeddings, raster: TokenRaster, layers: Sequence[str] = LAYERS, prototype: int | None = None
) -> list[Layer]:
    """The layers of a slide, at token resolution.

    Args:
        slide: R regions, K prototypes.
        raster: where its tokens lie.
        layers: some of ``LAYERS``; what a slide has not (attention that was not asked for) is left out.
        prototype: similarity to this one only, from 1; None: to each.

    Raises:
        SettingError: there is no such layer.
    """
    check_layers(layers)
    found: list[Layer] = []
    if "prototypes" in layers:
        numbers = raster.paint(slide.assignment + 1)
        found.append(Layer("prototypes", "prototypes", "Prototypes", "prototypes", numbers, (0, slide.n_prototypes)))
    if "similarity" in layers:
        found += _similarity(slide, raster, prototype)
    if "attention" in layers and slide.attention is not None:
        found += _attention(slide, raster)
    return found


def check_layers(layers: Sequence[str]) -> None:
    """Make sure that all of these are known.

    Raises:
        SettingError: one is not.
    """
    strangers = [name for name in layers if name not in LAYERS]
    if strangers or not layers:
        raise SettingError(f"layers are {list(layers)}; give some of {', '.join(LAYERS)}.")


def _similarity(slide: SlideEmbeddings, raster: TokenRaster, prototype: int | None) -> list[Layer]:
    shown = range(1, slide.n_prototypes + 1) if prototype is None else [prototype]
    cosines = slide.similarity
    limits = _span(cosines)
    found = []
    for number in shown:
        if number <= slide.n_prototypes:
            name, short = f"similarity_{number}", f"prototype {number}"
            values = raster.paint(cosines[:, number - 1])
            found.append(Layer("similarity", name, f"Similarity to {short}", short, values, limits))
    return found


def _attention(slide: SlideEmbeddings, raster: TokenRaster) -> list[Layer]:
    assert slide.attention is not None
    heads = relative_attention(slide.attention, slide.mask)
    on_tissue = np.moveaxis(heads, 1, -1)[slide.mask]
    limits = _span(np.percentile(on_tissue, _CLIPPED) if on_tissue.size else on_tissue)
    mean = raster.paint(heads.mean(1))
    found = [Layer("attention", "attention", "Attention, mean of heads", "mean of heads", mean, limits)]
    for head in range(heads.shape[1]):
        name, short = f"attention_head_{head + 1}", f"head {head + 1}"
        found.append(Layer("attention", name, f"Attention, {short}", short, raster.paint(heads[:, head]), limits))
    return found


def _span(values: NDArray[np.floating[Any]]) -> tuple[float, float]:
    """Least and greatest, apart by ``_LEAST_SPAN`` or more."""
    if not values.size:
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    spare = max(0.0, _LEAST_SPAN - (high - low)) / 2
    return low - spare, high + spare
