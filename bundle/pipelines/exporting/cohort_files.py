"""Files of a whole cohort: AnnData and parquet, a row a region and a row a slide; and a SpatialData table a slide."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ... import __version__
from ...core import DAMAGED_FILE, Replacement
from ...storage import SlideEmbeddings
from ..importing.layouts.tables import required
from .cohort import ExportCohort
from .h5ad import begin_h5ad, write_frame, write_notes
from .slide_files import SOURCE

Columns = dict[str, Any]
_OF_REGIONS = ("region", "x", "y", "prototype", "tissue_share")
TILES = "tiles"  # the name of tile shapes in wsidata's stores


def region_columns(slide: SlideEmbeddings) -> Columns:
    """What is said of each region: its number, corner (level-0 px), prototype (from 1; 0: none), share of tissue."""
    x, y = slide.coords.T
    values = np.arange(len(slide)), x, y, slide.assignment + 1, slide.mask.mean((1, 2))
    return dict(zip(_OF_REGIONS, values, strict=True))


def centers_um(slide: SlideEmbeddings) -> NDArray[np.floating]:
    """Middle of each region from the slide's corner, um, [R, 2]."""
    return (slide.coords + slide.region_size_level0 / 2) * slide.level0_mpp


def write_regions_h5ad(cohort: ExportCohort, path: Path) -> None:
    """``regions.h5ad``: embeddings as X, projections and centers (um) in obsm, slides' prototypes in uns."""
    offsets = np.cumsum([0, *cohort.sizes.values()])
    widths = {"X_projection": next(iter(cohort.slides())).projection.shape[1], "spatial": 2}
    found: list[Columns] = []
    prototypes: Columns = {"vectors": [], "slide": [], "number": []}
    with Replacement(path) as part, h5py.File(part, "w") as file:
        begin_h5ad(file, int(offsets[-1]), cohort.dim, widths)
        for slide, start in zip(cohort.slides(), offsets, strict=False):
            rows = slice(int(start), int(start) + len(slide))
            file["X"][rows] = slide.features
            file["obsm/X_projection"][rows], file["obsm/spatial"][rows] = slide.projection, centers_um(slide)
            found.append(region_columns(slide))
            prototypes["vectors"].append(slide.prototypes)
            prototypes["slide"] += [slide.slide_id] * slide.n_prototypes
            prototypes["number"] += range(1, slide.n_prototypes + 1)
        sizes = list(cohort.sizes.values())
        own: Columns = {name: np.concatenate([columns[name] for columns in found]) for name in found[0]}
        of_slides = {"slide": list(cohort.files), "patient": list(map(cohort.patient, cohort.files))}
        of_slides |= cohort.columns(["slide", "patient", *_OF_REGIONS])
        own = {**{name: np.repeat(np.array(v, object), sizes) for name, v in of_slides.items()}, **own}
        write_frame(file, "obs", [f"{s}-{r}" for s, n in cohort.sizes.items() for r in range(n)], own)
        prototypes["vectors"] = np.concatenate(prototypes["vectors"])
        write_notes(file["uns"], {"slpd": cohort.attributes, "prototypes": prototypes})
        _sign(file, cohort.source())


def write_slides_h5ad(cohort: ExportCohort, path: Path) -> None:
    """``slides.h5ad``: the mean of each slide's regions as X."""
    columns, vectors = slide_columns(cohort), [slide.slide_embedding for slide in cohort.slides()]
    with Replacement(path) as part, h5py.File(part, "w") as file:
        begin_h5ad(file, len(cohort), cohort.dim, {})
        file["X"][:] = np.stack(vectors)
        write_frame(file, "obs", list(cohort.files), columns)
        write_notes(file["uns"], {"slpd": cohort.attributes})
        _sign(file, cohort.source())


def slide_columns(cohort: ExportCohort) -> Columns:
    """What is said of each slide, by column."""
    own = {
        "patient": list(map(cohort.patient, cohort.files)),
        "n_regions": np.array(list(cohort.sizes.values())),
        "level0_mpp": np.array([float(header["level0_mpp"]) for header in cohort.headers.values()]),
    }
    return {**own, **cohort.columns(["slide", "features", *own])}


def write_spatial_table(cohort: ExportCohort, slide: SlideEmbeddings, path: Path) -> None:
    """A slide's table for SpatialData, as wsidata calls and keys it: its rows annotate the shapes ``tiles``."""
    rows, size = region_columns(slide), slide.region_size_level0
    columns = {"tile_id": rows.pop("region"), "library_id": [TILES] * len(slide), **rows}
    keys = {"region": TILES, "region_key": "library_id", "instance_key": "tile_id"}
    about = {**cohort.attributes, "slide": slide.slide_id, "tile_size_level0": size, "level0_mpp": slide.level0_mpp}
    with Replacement(path) as part, h5py.File(part, "w") as file:
        begin_h5ad(file, len(slide), cohort.dim, {"X_projection": slide.projection.shape[1], "spatial": 2})
        file["X"][:] = slide.features
        file["obsm/X_projection"][:], file["obsm/spatial"][:] = slide.projection, slide.coords + size / 2
        write_frame(file, "obs", [str(i) for i in range(len(slide))], columns)
        write_notes(file["uns"], {"spatialdata_attrs": keys, "slpd": about})
        _sign(file, cohort.source([slide.slide_id]))


def write_regions_parquet(cohort: ExportCohort, path: Path) -> None:
    """``regions.parquet``: a row a region, its embedding as a list."""
    said = cohort.columns(["slide", "patient", "features", *_OF_REGIONS])

    def tables() -> Any:
        for place, slide in enumerate(cohort.slides()):
            texts = {"slide": slide.slide_id, "patient": cohort.patient(slide.slide_id)}
            texts |= {name: values[place] for name, values in said.items()}
            columns = {name: np.repeat(np.array(text, object), len(slide)) for name, text in texts.items()}
            yield {**columns, **region_columns(slide)}, slide.features

    _write_parquet(path, cohort, tables)


def write_slides_parquet(cohort: ExportCohort, path: Path) -> None:
    """``slides.parquet``: a row a slide, the mean of its regions as a list."""
    columns = {"slide": list(cohort.files), **slide_columns(cohort)}
    vectors = np.stack([slide.slide_embedding for slide in cohort.slides()])
    _write_parquet(path, cohort, lambda: [(columns, vectors)])


def _write_parquet(path: Path, cohort: ExportCohort, tables: Callable[[], Any]) -> None:
    arrow = required("pyarrow", "parquet", "an export to parquet")
    parquet = required("pyarrow.parquet", "parquet", "an export to parquet")
    about = {SOURCE: cohort.source(), **{f"slpd_{name}": str(value) for name, value in cohort.attributes.items()}}
    writer = None
    with Replacement(path) as part:
        try:
            for columns, vectors in tables():
                flat = arrow.array(np.ascontiguousarray(vectors, np.float32).reshape(-1))
                made = {name: arrow.array(values) for name, values in columns.items()}
                made["features"] = arrow.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
                table = arrow.table(made).replace_schema_metadata(about)
                writer = writer or parquet.ParquetWriter(part, table.schema)
                writer.write_table(table)
        finally:
            if writer is not None:
                writer.close()


def source_of(path: Path) -> str:
    """What a finished file was made of; empty where there is none that says so."""
    with contextlib.suppress(*DAMAGED_FILE):
        if path.suffix == ".parquet":
            metadata = required("pyarrow.parquet", "parquet", "an export to parquet").read_schema(path).metadata or {}
            return str(metadata.get(SOURCE.encode(), b"").decode())
        with h5py.File(path, "r", locking=False) as file:
            return str(file.attrs.get(SOURCE, ""))
    return ""


def _sign(file: h5py.File, source: str) -> None:
    file.attrs.update({SOURCE: source, "bundle_version": __version__})
