"""What a head says of regions, for QuPath: class and risk maps as GeoJSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core import write_text
from ...heads import Head, RegionScores
from ...pages import prototype_colors
from ...storage import SlideEmbeddings
from .geojson import DECIMALS, dumped, feature, outlined, square
from .token_raster import TokenRaster


class HeadGeoJson:
    """Writes ``<slide>.geojson``: a tile a region with what a head says of it, an annotation a class around its tissue.

    A tile is measured by the probability of each class, or by its risk, and by its share in what is said of the slide:
    of a linear head, Cox regression and attention MIL the slide's log odds (or risk) are the mean of the regions' under
    these shares.
    """

    def __call__(self, slide: SlideEmbeddings, head: Head, folder: Path) -> Path:
        """Write the file and say where."""
        said = head.of_regions(slide)
        called = head.called(said.scores)
        names = head.labels
        raster = TokenRaster.of(slide)
        features = [*_annotations(slide, raster, called, names), *_tiles(slide, head, said, called, names)]
        path = folder / f"{slide.slide_id}.geojson"
        write_text(path, dumped({"type": "FeatureCollection", "features": features}))
        return path


def _annotations(
    slide: SlideEmbeddings, raster: TokenRaster, called: NDArray[np.int64], names: list[str]
) -> list[dict[str, Any]]:
    numbers, found = raster.paint(called + 1.0), []
    for place, name in enumerate(names):
        geometry = outlined(raster, numbers == place + 1)
        if geometry is not None:
            measured = {"Regions": int((called == place).sum())}
            found.append(feature(slide, f"class {name}", "annotation", geometry, _class(names, place), measured))
    return found


def _tiles(
    slide: SlideEmbeddings, head: Head, said: RegionScores, called: NDArray[np.int64], names: list[str]
) -> list[dict[str, Any]]:
    columns = ["Risk"] if head.record.is_survival else [f"Probability {name}" for name in names]
    tiles = []
    for region, (x, y) in enumerate(slide.coords.tolist()):
        geometry = square(slide, x, y, slide.region_size_level0)
        if geometry is None:
            continue
        measured = {name: round(float(v), DECIMALS) for name, v in zip(columns, said.scores[region], strict=True)}
        measured["Share in the slide"] = round(float(said.weights[region]), 2 * DECIMALS)
        tiles.append(feature(slide, f"head region {region}", "tile", geometry, _class(names, called[region]), measured))
    return tiles


def _class(names: list[str], place: int) -> tuple[str, list[int]]:
    return names[place], prototype_colors(len(names))[place].tolist()
