"""Maps for QuPath: regions and prototypes as GeoJSON."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core import write_text
from ...pages import NO_PROTOTYPE, prototype_colors
from ...storage import SlideEmbeddings, attention_on_tissue, relative_attention, tissue_shares
from .map_request import MapRequest
from .polygons import cell_polygons
from .token_raster import TokenRaster

DECIMALS = 4


class QuPathGeoJson:
    """Writes ``<slide>.geojson``: a tile a region with its measurements, an annotation a prototype around its tissue.

    Positions are px of the slide's file, clipped to the slide. Tiles are light objects, which QuPath shows by the
    thousand and colors by measurement; annotations are locked, so that a slip of the hand moves nothing.
    """

    def __call__(self, slide: SlideEmbeddings, request: MapRequest, folder: Path) -> list[Path]:
        """Write the file and say where."""
        raster = TokenRaster.of(slide)
        annotations = _prototype_annotations(slide, raster) if "prototypes" in request.layers else []
        collection = {"type": "FeatureCollection", "features": [*annotations, *_region_tiles(slide, request)]}
        path = folder / f"{slide.slide_id}.geojson"
        write_text(path, dumped(collection))
        return [path]


class QuPathTokens:
    """Writes ``<slide>.tokens.geojson``: a tile a token with tissue, with its attention; some 50 MB for 500 regions.

    Nothing is written for a slide without attention: its regions say all there is.
    """

    def __call__(self, slide: SlideEmbeddings, request: MapRequest, folder: Path) -> list[Path]:
        """Write the file and say where."""
        if slide.attention is None or "attention" not in request.layers:
            return []
        path = folder / f"{slide.slide_id}.tokens.geojson"
        write_text(path, f'{{"type":"FeatureCollection","features":[{",".join(map(dumped, _token_tiles(slide)))}]}}')
        return [path]


def _token_tiles(slide: SlideEmbeddings) -> Iterator[dict[str, Any]]:
    assert slide.attention is not None
    heads = np.moveaxis(relative_attention(slide.attention, slide.mask), 1, -1)
    names = ["Attention", *(f"Attention head {head + 1}" for head in range(heads.shape[-1]))]
    for region, row, column in np.argwhere(slide.mask).tolist():
        x, y = slide.coords[region] + slide.patch_level0 * np.array([column, row])
        values = heads[region, row, column]
        measurements = {n: round(float(v), DECIMALS) for n, v in zip(names, [values.mean(), *values], strict=True)}
        geometry = square(slide, float(x), float(y), slide.patch_level0)
        if geometry is not None:
            number = int(slide.assignment[region]) + 1
            yield _prototype_feature(slide, "", "tile", geometry, number, measurements)


def _region_tiles(slide: SlideEmbeddings, request: MapRequest) -> list[dict[str, Any]]:
    measured = _measurements(slide, request)
    tiles = []
    for region, (x, y) in enumerate(slide.coords.tolist()):
        number = int(slide.assignment[region]) + 1
        measurements = {name: round(float(values[region]), DECIMALS) for name, values in measured.items()}
        geometry = square(slide, x, y, slide.region_size_level0)
        if geometry is not None:
            tiles.append(_prototype_feature(slide, f"region {region}", "tile", geometry, number, measurements))
    return tiles


def square(slide: SlideEmbeddings, x: float, y: float, side: float) -> dict[str, Any] | None:
    """A square within the slide, level-0 px; None where nothing of it is."""
    width, height = slide.level0_size
    left, top = _short(max(x, 0)), _short(max(y, 0))
    right, bottom = _short(min(x + side, width)), _short(min(y + side, height))
    if right <= left or bottom <= top:
        return None
    corners = [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]
    return {"type": "Polygon", "coordinates": [corners]}


def _measurements(slide: SlideEmbeddings, request: MapRequest) -> dict[str, NDArray[Any]]:
    """Name -> a number a region."""
    found: dict[str, NDArray[Any]] = {"Tissue share": slide.mask.mean((1, 2))}
    if "prototypes" in request.layers and slide.n_prototypes:
        shares = tissue_shares(slide)
        found["Prototype share of tissue"] = np.where(slide.assignment >= 0, shares[slide.assignment], 0)
    if "similarity" in request.layers:
        cosines = slide.similarity
        for k in range(1, slide.n_prototypes + 1):
            if request.prototype in (None, k):
                found[f"Similarity to prototype {k}"] = cosines[:, k - 1]
    if "attention" in request.layers and slide.attention is not None:
        found["Attention on tissue"] = attention_on_tissue(slide.attention, slide.mask)
        found["Attention peak"] = relative_attention(slide.attention, slide.mask).mean(1).max((1, 2))
    return found


def _prototype_annotations(slide: SlideEmbeddings, raster: TokenRaster) -> list[dict[str, Any]]:
    """An annotation a prototype: the tissue of its regions, outlined token by token."""
    numbers = raster.paint(slide.assignment + 1.0)
    shares, annotations = tissue_shares(slide), []
    for number in range(1, slide.n_prototypes + 1):
        geometry = outlined(raster, numbers == number)
        if geometry is None:
            continue
        measurements = {
            "Share of tissue": round(float(shares[number - 1]), DECIMALS),
            "Regions": int((slide.assignment == number - 1).sum()),
        }
        name = f"prototype {number}"
        annotations.append(_prototype_feature(slide, name, "annotation", geometry, number, measurements))
    return annotations


def outlined(raster: TokenRaster, cells: NDArray[np.bool_]) -> dict[str, Any] | None:
    """The outlines of cells of a raster within the slide, level-0 px; None where there is no such cell."""
    x, y = (np.round(edge, 2) for edge in raster.edges())
    polygons = [
        [[[float(x[column]), float(y[row])] for column, row in ring] for ring in rings]
        for rings in cell_polygons(cells & raster.within())
    ]
    return {"type": "MultiPolygon", "coordinates": polygons} if polygons else None


def _prototype_feature(
    slide: SlideEmbeddings, name: str, kind: str, geometry: dict[str, Any], number: int, measurements: dict[str, float]
) -> dict[str, Any]:
    """An object of a prototype; ``number`` is 0 for none."""
    color = prototype_colors(number)[-1].tolist() if number else list(NO_PROTOTYPE)
    classification = (f"Prototype {number}" if number else "No prototype", color)
    return feature(slide, name, kind, geometry, classification, measurements)


def feature(
    slide: SlideEmbeddings,
    name: str,
    kind: str,
    geometry: dict[str, Any],
    classification: tuple[str, list[int]],
    measurements: Mapping[str, float],
) -> dict[str, Any]:
    """One object of QuPath. With a name it keeps its id when the map is made again.

    Args:
        slide: whose.
        name: of the object; empty for none.
        kind: "tile", or "annotation", which is locked.
        geometry: in level-0 px.
        classification: name and color (RGB) of its class.
        measurements: numbers by name.
    """
    properties: dict[str, Any] = {
        "objectType": kind,
        "classification": {"name": classification[0], "color": classification[1]},
        "measurements": measurements,
    }
    aspect = slide.attributes.get("pixel_aspect")
    geometry = geometry if aspect is None else {**geometry, "coordinates": _in_file(geometry["coordinates"], aspect)}
    made = {"type": "Feature", "geometry": geometry, "properties": properties}
    if name:
        made["id"] = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{slide.slide_id}/{name}"))
        properties["name"] = name
    if kind == "annotation":
        properties["isLocked"] = True
    return made


def _in_file(node: Any, aspect: Sequence[float]) -> Any:
    """Positions below a node in px of the file, of which ``aspect`` level-0 px were made, as they were no squares."""
    if isinstance(node[0], list):
        return [_in_file(item, aspect) for item in node]
    return [_short(float(px / of_one)) for px, of_one in zip(node, aspect, strict=True)]


def _short(px: float) -> float:
    """Hundredths of a px; a whole number without decimals."""
    rounded = round(px, 2)
    return int(rounded) if rounded == int(rounded) else rounded


def dumped(node: dict[str, Any]) -> str:
    """As QuPath reads it: no NaN, no spaces."""
    return json.dumps(node, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
