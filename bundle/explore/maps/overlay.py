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

from ...core import write_bytes
from ...pages import NO_PROTOTYPE, prototype_colors
from ...storage import SlideEmbeddings, tissue_shares
from .layers import LAYERS, Layer, slide_layers
from .map_panel import TEXT_SIZE, draw_outlines, draw_picture, draw_scale_bar
from .map_picture import SCALES, faded, slide_picture, tinted
from .map_request import MapRequest, Thumbnail
from .page_layout import folded, lay_out
from .token_raster import TokenRaster

_HEADINGS = {"prototypes": "Regions by prototype", "similarity": "Similarity to prototypes", "attention": "Attention"}
_DPI = 200
_COMPRESSION = 4  # of 9: half the time, files a tenth larger
_KEYS_A_ROW, _KEY_IN = 8, 0.22
_SCALE_IN = 3.5


class OverlayPng:
    """Writes ``<slide>.prototypes.png``, ``<slide>.similarity.png`` and ``<slide>.attention.png``, 2000 px wide.

    The slide stands beside its maps in color, and under them in gray; where it is not at hand they lie on plain ground.
    """

    def __call__(self, slide: SlideEmbeddings, request: MapRequest, folder: Path) -> list[Path]:
        """Draw the pictures and say where they are."""
        raster = TokenRaster.of(slide)
        thumbnail = request.thumbnail_of(slide)
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
    kind = layers[0].kind
    n_panels = len(layers) + (thumbnail is not None)
    n_keys = slide.n_prototypes + 1 if kind == "prototypes" else 0
    legend_in = _KEY_IN * (1 + math.ceil(n_keys / _KEYS_A_ROW)) if n_keys else 0.0
    layout = lay_out(n_panels, raster.level0_size[1] / raster.level0_size[0], legend_in)
    figure = Figure(figsize=layout.page_in, layout="constrained")
    panels: list[Axes] = list(figure.subplots(layout.rows, layout.columns, squeeze=False).flat)
    for axes in panels[n_panels:]:
        axes.set_visible(False)
    picture = slide_picture(raster, thumbnail, math.ceil(layout.panel_in * _DPI))
    shown = [("slide", picture)] if thumbnail is not None else []
    shown += [(layer.short_title, tinted(faded(picture), layer, raster)) for layer in layers]
    for axes, (title, content) in zip(panels, shown, strict=False):
        draw_picture(axes, content, raster)
        axes.set_title(title, fontsize=TEXT_SIZE)
    draw_scale_bar(panels[0], raster)
    if kind == "prototypes":
        draw_outlines(panels[n_panels - 1], slide, raster)
        _add_legend(figure, slide)
    else:
        _add_scale(figure, panels[:n_panels], layers[0])
    name = folded(slide.slide_id, layout.page_in[0])
    figure.suptitle(f"{name}\n{_HEADINGS[kind]}", fontsize=TEXT_SIZE + 1, parse_math=False)
    return figure


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
