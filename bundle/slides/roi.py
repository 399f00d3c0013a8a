"""Regions of interest that somebody has drawn, as masks. Files are read in :mod:`.roi_files`."""

import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ..core import BundleError
from .roi_files import Area, read_areas

_SPARE = 0.01  # of the slide's longer side: people draw a little over the border
_log = logging.getLogger(__name__)


def roi_mask(
    path: str | Path,
    width: int,
    height: int,
    downsample: float,
    *,
    aspect: tuple[float, float] = (1.0, 1.0),
    origin: tuple[float, float] = (0, 0),
) -> NDArray[np.bool_]:
    """Rasterize what is drawn; holes, and areas that are to be ignored, stay out.

    Where a ring crosses itself, what it goes around twice is outside.

    Args:
        path: QuPath's or plain GeoJSON, ASAP's XML, HALO's or Aperio's annotations, in the file's px.
        width, height: of the mask.
        downsample: level-0 px a mask px.
        aspect: level-0 px, in x and y, that are made of one of the file's.
        origin: the file's px of where QuPath has its corner: it crops slides of some vendors.

    Returns:
        bool [height, width].

    Raises:
        BundleError: no such file, none of these formats, no area in it, or all of it beyond the slide.
    """
    areas = [_on_slide(area, aspect, origin) for area in read_areas(path)]
    drawn = [area for area in areas if not area.is_outside]
    if not drawn:
        raise BundleError(
            f"the region of interest {path} holds no Polygon or MultiPolygon that counts: draw an area, not a line, "
            "of a class other than Ignore*."
        )
    _compare_with_slide(path, drawn, width * downsample, height * downsample)
    mask = np.zeros((height, width), bool)
    for area in drawn:
        mask |= rasterized(area, width, height, downsample)
    for area in areas:
        if area.is_outside:
            mask &= ~rasterized(area, width, height, downsample)
    return mask


def _on_slide(area: Area, aspect: tuple[float, float], origin: tuple[float, float]) -> Area:
    """In level-0 px."""
    corner = np.asarray(origin if area.is_cropped else (0, 0), float)
    return area._replace(rings=[(ring + corner) * aspect for ring in area.rings])


def _compare_with_slide(path: str | Path, areas: list[Area], width: float, height: float) -> None:
    corners = np.array([[area.rings[0].min(0), area.rings[0].max(0)] for area in areas])
    size, spare = np.array([width, height]), _SPARE * max(width, height)
    beyond = ((corners[:, 0] >= size) | (corners[:, 1] <= 0)).any(1)
    low, high = corners[:, 0].min(0), corners[:, 1].max(0)
    where = (
        f"it reaches from ({low[0]:.0f}, {low[1]:.0f}) to ({high[0]:.0f}, {high[1]:.0f}), the slide has "
        f"{width:.0f} x {height:.0f} px"
    )
    if beyond.all():
        raise BundleError(
            f"the region of interest {path} lies beyond the slide: {where}. Is it another slide's, or in um, or drawn "
            "on a smaller picture? It must be in pixels of the full resolution."
        )
    if beyond.any() or (low < -spare).any() or (high > size + spare).any():
        _log.warning("the region of interest %s goes beyond the slide: %s", path, where)


def rasterized(area: Area, width: int, height: int, downsample: float) -> NDArray[np.bool_]:
    """Pixels whose middle lies within the exterior and no hole, to about half a pixel."""
    canvas = Image.new("1", (width, height))
    draw = ImageDraw.Draw(canvas)
    for position, ring in enumerate(area.rings):
        points = ring / downsample - 0.5
        if len(points) >= 3:
            draw.polygon([tuple(point) for point in points.tolist()], fill=int(position == 0))
    return np.asarray(canvas).astype(bool)
