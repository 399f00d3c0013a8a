"""Maps as numbers: a pyramidal OME-TIFF with a channel a layer."""

from __future__ import annotations

import io
import uuid
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from ...core import write_bytes
from ...storage import SlideEmbeddings
from .layers import Layer, slide_layers
from .map_request import MapRequest
from .token_raster import TokenRaster

_TILE_PX = 256
_SMALLEST_PX = 64


class HeatMapTiff:
    """Writes ``<slide>.ome.tiff``: float32, a px a token, a channel a layer, NaN where there is nothing.

    Tiled, with coarser levels in SubIFDs. The OME header has each channel's name, the size of a px in um, and the
    position of the raster's corner on the slide (um, not 0 for a slide smaller than a region).
    """

    def __call__(self, slide: SlideEmbeddings, request: MapRequest, folder: Path) -> list[Path]:
        """Write the file, unless there is no layer, and say where."""
        raster = TokenRaster.of(slide)
        layers = slide_layers(slide, raster, request.layers, request.prototype)
        if not layers:
            return []
        path = folder / f"{slide.slide_id}.ome.tiff"
        write_bytes(path, _encoded(layers, raster, slide.slide_id))
        return [path]


def _encoded(layers: Sequence[Layer], raster: TokenRaster, name: str) -> bytes:
    levels = [np.stack([layer.values for layer in layers])]
    is_label = np.array([layer.kind == "prototypes" for layer in layers])
    while max(levels[-1].shape[1:]) > _SMALLEST_PX:
        levels.append(_halved(levels[-1], is_label))
    options: dict[str, Any] = {"tile": (_TILE_PX, _TILE_PX), "photometric": "minisblack", "compression": "zlib"}
    contents = io.BytesIO()
    with tifffile.TiffWriter(contents, ome=True) as file:
        for step, level in enumerate(levels):
            per_cm = 1e4 / (raster.pitch_um * 2**step)
            first = {"subifds": len(levels) - 1, "metadata": _metadata(layers, raster, name)}
            further = {"subfiletype": 1, "metadata": None}
            file.write(
                level,
                resolution=(per_cm, per_cm),
                resolutionunit="CENTIMETER",
                software="pathology_slpd" if step == 0 else None,
                **(first if step == 0 else further),
                **options,
            )
    return contents.getvalue()


def _metadata(layers: Sequence[Layer], raster: TokenRaster, name: str) -> dict[str, Any]:
    n = len(layers)
    x_um, y_um = (start * raster.level0_mpp for start in raster.origin)
    return {
        "UUID": str(uuid.uuid5(uuid.NAMESPACE_OID, name)),  # else a new one each time
        "Name": name,
        "axes": "CYX",
        "Channel": {"Name": [layer.title for layer in layers]},
        "PhysicalSizeX": raster.pitch_um,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": raster.pitch_um,
        "PhysicalSizeYUnit": "µm",
        "Plane": {
            "PositionX": [x_um] * n,
            "PositionXUnit": ["µm"] * n,
            "PositionY": [y_um] * n,
            "PositionYUnit": ["µm"] * n,
        },
    }


def _halved(level: NDArray[np.float32], is_label: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Every 2 x 2 px to one: the mean of what is there; of labels the first that is there."""
    rows, columns = level.shape[1:]
    even = np.pad(level, ((0, 0), (0, rows % 2), (0, columns % 2)), constant_values=np.nan)
    fours = np.stack([even[:, i::2, j::2] for i in (0, 1) for j in (0, 1)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # four times nothing
        halved = np.nanmean(fours, 0)
    first = np.take_along_axis(fours, np.isfinite(fours).argmax(0)[None], 0)[0]
    halved[is_label] = first[is_label]
    return halved.astype(np.float32)
