"""One panel of a map's figure: a picture of the slide in mm, outlines, a scale bar."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.transforms import ScaledTranslation
from numpy.typing import NDArray

from ...pages import prototype_colors
from ...storage import SlideEmbeddings
from .polygons import cell_polygons
from .token_raster import TokenRaster

TEXT_SIZE = 9
_DARKER = 0.75
_BAR_BELOW_IN, _TEXT_BELOW_IN = 0.08, 0.04


def draw_picture(axes: Axes, picture: NDArray[np.uint8], raster: TokenRaster) -> None:
    """Show a picture of the whole slide; the axes count in mm from then on, y downward."""
    width, height = (size * raster.level0_mpp / 1000 for size in raster.level0_size)
    axes.imshow(picture, extent=(0, width, height, 0), interpolation="antialiased")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(linewidth=0.5, color="0.6")


def draw_outlines(axes: Axes, slide: SlideEmbeddings, raster: TokenRaster) -> None:
    """Around the regions of each prototype together, in its color, darker."""
    limits = axes.get_xlim(), axes.get_ylim()
    mm = raster.level0_mpp / 1000
    colors = prototype_colors(slide.n_prototypes) / 255
    for number in range(slide.n_prototypes):
        rings = [ring for rings in cell_polygons(raster.blocks(slide.assignment == number)) for ring in rings]
        lines = [(np.asarray(ring) * raster.pitch + raster.origin) * mm for ring in rings]
        axes.add_collection(LineCollection(lines, colors=[colors[number] * _DARKER], linewidths=0.8))
    axes.set(xlim=limits[0], ylim=limits[1])


def draw_scale_bar(axes: Axes, raster: TokenRaster) -> None:
    """A bar of a round length below the panel's lower left corner, with its length in um or mm."""
    length = round_length(raster.level0_size[0] * raster.level0_mpp / 1000 / 4)
    lowered = axes.get_xaxis_transform() + ScaledTranslation(0, -_BAR_BELOW_IN, axes.figure.dpi_scale_trans)
    axes.plot(
        [0, length], [0, 0], transform=lowered, color="black", linewidth=2.2, clip_on=False, solid_capstyle="butt"
    )
    below = lowered + ScaledTranslation(0, -_TEXT_BELOW_IN, axes.figure.dpi_scale_trans)
    axes.text(0, 0, length_text(length), transform=below, fontsize=TEXT_SIZE, ha="left", va="top")


def round_length(most_mm: float) -> float:
    """The greatest of 1, 2 and 5 times a power of ten that is not above ``most_mm``."""
    power = 10.0 ** math.floor(math.log10(most_mm) + 1e-9)
    return max(step * power for step in (1, 2, 5) if step * power <= most_mm * (1 + 1e-9))


def length_text(length_mm: float) -> str:
    """In mm from 1 mm on, below in um."""
    return f"{length_mm:g} mm" if length_mm >= 1 - 1e-9 else f"{length_mm * 1000:g} µm"
