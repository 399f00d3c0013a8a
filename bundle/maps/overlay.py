"""Maps as pictures: PNG with legend and scale bar."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ..cohort import write_bytes
from ..embeddings import SlideEmbeddings, tissue_shares
from ..functional import NO_PROTOTYPE, prototype_colors
from .layers import LAYERS, Layer, slide_layers
from .map_panel import TEXT_SIZE, draw_outlines, draw_picture, draw_scale_bar
from .map_picture import SCALES, faded, slide_picture, tinted
from .map_request import MapRequest, Thumbnail
from .token_raster import TokenRaster

_WIDTH_IN, _HEIGHT_IN, _LEAST_WIDTH_IN = 10.0, 7.5, 5.0  # of the page: at most, at most, at least
_BESIDE_IN, _AROUND_IN = 1.1, 1.3  # of it for scales and titles
_DPI = 200
_COMPRESSION = 4  # of 9: half the time, files a tenth larger
_KEYS_A_ROW = 8
_SCALE_IN = 3.5


class OverlayPng:
    """Writes ``<slide>.prototypes.png``, ``<slide>.similarity.png`` and ``<slide>.attention.png``, 2000 px wide.

    The slide stands beside its maps in color, and under them in gray; where it is not at hand they lie on plain ground.
    """

    def __call__(self, slide: SlideEmbeddings, request: MapRequest, folder: Path) -> list[Path]:
        """Draw the pictures and say where they are."""
        raster = TokenRaster.of(slide)
        thumbnail = request.thumbnail(slide.slide_id)
        paths = []
        layers = slide_layers(slide, raster, request.layers, request.prototype)
        for kind in LAYERS:
            shown = [layer for layer in layers if layer.kind == kind]
            if shown:
                figure = map_figure(slide, shown, raster, thumbnail)
                contents = io.BytesIO()
                figure.savefig(contents, format="png", dpi=_DPI, pil_kwargs={"compress_level": _COMPRESSION})
                paths.append(folder / f"{slide.slide_id}.{kind}.png")
                write_bytes(paths[-1], contents.getvalue())
        return paths


def map_figure(
    slide: SlideEmbeddings, layers: Sequence[Layer], raster: TokenRaster, thumbnail: Thumbnail | None
) -> Figure:
    """Panels of layers of one kind, in rows, with one legend for all."""
    n_panels = len(layers) + (thumbnail is not None)
    rows, columns, size, panel_in = _arranged(n_panels, raster)
    figure = Figure(figsize=size, layout="constrained")
    panels: list[Axes] = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in panels[n_panels:]:
        axes.set_visible(False)
    picture = slide_picture(raster, thumbnail, math.ceil(panel_in * _DPI))
    shown = [("Slide", picture)] if thumbnail is not None else []
    shown += [(layer.title, tinted(faded(picture), layer, raster)) for layer in layers]
    for axes, (title, content) in zip(panels, shown, strict=False):
        draw_picture(axes, content, raster)
        axes.set_title(title, fontsize=TEXT_SIZE)
    draw_scale_bar(panels[0], raster)
    if layers[0].kind == "prototypes":
        draw_outlines(panels[n_panels - 1], slide, raster)
        _add_legend(figure, slide)
    else:
        _add_scale(figure, panels[:n_panels], layers[0])
    figure.suptitle(slide.slide_id, fontsize=TEXT_SIZE + 1)
    return figure


def _arranged(n_panels: int, raster: TokenRaster) -> tuple[int, int, tuple[float, float], float]:
    """Rows, columns, inches of the page on which the panels are largest, and of a panel across."""
    aspect = raster.level0_size[1] / raster.level0_size[0]

    def panel_width(columns: int) -> float:
        rows = math.ceil(n_panels / columns)
        return min((_WIDTH_IN - _BESIDE_IN) / columns, (_HEIGHT_IN - _AROUND_IN) / rows / aspect)

    columns = max(range(1, n_panels + 1), key=lambda n: (round(panel_width(n), 3), -n))
    rows = math.ceil(n_panels / columns)
    width = max(columns * panel_width(columns) + _BESIDE_IN, _LEAST_WIDTH_IN)
    return rows, columns, (width, rows * panel_width(columns) * aspect + _AROUND_IN), panel_width(columns)


def _add_legend(figure: Figure, slide: SlideEmbeddings) -> None:
    shares = tissue_shares(slide)
    colors = prototype_colors(slide.n_prototypes) / 255
    entries = [
        Patch(facecolor=(*color, 0.75), edgecolor=color * 0.75, label=f"{number} ({share:.0%})")
        for number, (color, share) in enumerate(zip(colors, shares, strict=True), start=1)
    ]
    if (slide.assignment < 0).any():
        gray = np.array(NO_PROTOTYPE) / 255
        entries.append(Patch(facecolor=gray, edgecolor=gray * 0.75, label="none"))
    legend = {"loc": "outside lower center", "ncols": min(_KEYS_A_ROW, len(entries)), "frameon": False}
    figure.legend(handles=entries, title="Prototype (share of tissue)", fontsize=TEXT_SIZE, **legend)


def _add_scale(figure: Figure, panels: Sequence[Axes], layer: Layer) -> None:
    is_attention = layer.kind == "attention"
    colors = ScalarMappable(Normalize(*layer.limits), SCALES[layer.kind])
    shrink = min(1.0, _SCALE_IN / figure.get_figheight())
    extend = "both" if is_attention else "neither"
    bar = figure.colorbar(colors, ax=panels, extend=extend, extendfrac=0.03, shrink=shrink, aspect=28, pad=0.02)
    bar.set_label("attention / mean over the region's tissue" if is_attention else "cosine", fontsize=TEXT_SIZE)
    bar.ax.tick_params(labelsize=TEXT_SIZE - 1)
    bar.outline.set_linewidth(0.5)
