"""Regions of interest that somebody has drawn: GeoJSON, as QuPath exports it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ..core import BundleError


def roi_mask(
    path: str | Path, width: int, height: int, downsample: float, aspect: tuple[float, float] = (1.0, 1.0)
) -> NDArray[np.bool_]:
    """Rasterize the polygons of a GeoJSON file; holes stay out.

    Args:
        path: FeatureCollection, list of features, feature or geometry with Polygon or MultiPolygon, in the file's px.
        width, height: of the mask.
        downsample: level-0 px a mask px.
        aspect: level-0 px, in x and y, that are made of one of the file's.

    Returns:
        bool [height, width].

    Raises:
        BundleError: no such file, no GeoJSON, or no polygon in it.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        polygons = list(_polygons(content))
        mask = np.zeros((height, width), bool)
        for rings in polygons:
            mask |= _rasterized(rings, width, height, downsample / np.array(aspect))
    except (OSError, TypeError, ValueError, KeyError) as error:
        raise BundleError(
            f"the region of interest {path} cannot be read ({type(error).__name__}: {error}): export it from QuPath as "
            "GeoJSON, with polygons in pixels of the full resolution."
        ) from error
    if not polygons:
        raise BundleError(f"the region of interest {path} holds no Polygon or MultiPolygon: draw an area, not a line.")
    return mask


def _polygons(node: Any) -> Any:
    """Rings of every polygon below a GeoJSON node: [exterior, hole, ...], each [(x, y), ...]."""
    if isinstance(node, list):
        for item in node:
            yield from _polygons(item)
        return
    kind = node["type"]
    if kind == "FeatureCollection":
        yield from _polygons(node["features"])
    elif kind == "Feature":
        yield from _polygons(node["geometry"]) if node.get("geometry") else ()
    elif kind == "GeometryCollection":
        yield from _polygons(node["geometries"])
    elif kind == "Polygon":
        yield node["coordinates"]
    elif kind == "MultiPolygon":
        yield from node["coordinates"]


def _rasterized(rings: Any, width: int, height: int, downsample: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Pixels whose middle lies within the exterior and no hole, to about half a pixel."""
    canvas = Image.new("1", (width, height))
    draw = ImageDraw.Draw(canvas)
    for position, ring in enumerate(rings):
        points = np.asarray([point[:2] for point in ring], float) / downsample - 0.5
        if len(points) >= 3:
            draw.polygon([tuple(point) for point in points.tolist()], fill=int(position == 0))
    return np.asarray(canvas).astype(bool)
