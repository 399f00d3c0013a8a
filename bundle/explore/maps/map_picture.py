"""Layers as pixels: the slide in gray with a layer's colors over it."""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import Normalize
from numpy.typing import NDArray
from PIL import Image

from ...pages import LUMA, NO_PROTOTYPE, prototype_colors
from .layers import Layer
from .map_request import Thumbnail
from .token_raster import TokenRaster

# Perceptually even, safe for color-blind readers, and unlike each other.
SCALES = {"similarity": "viridis", "attention": "inferno"}
_OPACITY = {"prototypes": 0.6, "similarity": 0.85, "attention": 0.85}
_PAPER = 250
_FADED = 0.6  # of the gray slide's contrast is left under a map
LUMINANCE = np.array(LUMA, np.float32)


def slide_picture(raster: TokenRaster, thumbnail: Thumbnail | None, width_px: int) -> NDArray[np.uint8]:
    """The slide in its colors, RGB uint8 [h, width_px, 3]; plain paper where there is no thumbnail."""
    width, height = raster.level0_size
    size = (width_px, max(1, round(width_px * height / width)))
    if thumbnail is None:
        return np.full((size[1], size[0], 3), _PAPER, np.uint8)
    return np.asarray(Image.fromarray(thumbnail[0]).resize(size, Image.Resampling.BOX))


def faded(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The same in pale gray, so that colors of a map are not mixed up with those of a stain."""
    gray = 255 - _FADED * (255 - picture @ LUMINANCE)
    return np.repeat(gray.astype(np.uint8)[..., None], 3, 2)


def tinted(picture: NDArray[np.uint8], layer: Layer, raster: TokenRaster) -> NDArray[np.uint8]:
    """Lay the layer's colors over a picture of the whole slide, RGB uint8 [h, w, 3]; it shows where there are none."""
    columns, rows = (
        np.floor((((np.arange(n) + 0.5) * size / n) - start) / raster.pitch).astype(int)
        for n, size, start in zip(picture.shape[1::-1], raster.level0_size, raster.origin, strict=True)
    )
    window = np.ix_(rows.clip(0, raster.shape[0] - 1), columns.clip(0, raster.shape[1] - 1))
    opacity = (_OPACITY[layer.kind] * np.isfinite(layer.values)).astype(np.float32)[window][..., None]
    colors = _colors(layer)[window]
    return (picture * (1 - opacity) + colors * opacity).astype(np.uint8)


def _colors(layer: Layer) -> NDArray[np.float32]:
    """RGB of each cell, 0 to 255, [rows, columns, 3]."""
    if layer.kind == "prototypes":
        table = np.concatenate([[NO_PROTOTYPE], prototype_colors(int(layer.limits[1]))]).astype(np.float32)
        return table[np.nan_to_num(layer.values).astype(int)]
    scaled = Normalize(*layer.limits, clip=True)(np.nan_to_num(layer.values))
    return colormaps[SCALES[layer.kind]](scaled)[..., :3].astype(np.float32) * 255
