"""HDF5 files of one slide, or one patient, as other tools read them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ... import __version__
from ...core import write_bytes
from ...storage import SlideEmbeddings
from .cohort import ExportCohort

SOURCE = "slpd_source"  # attribute by which a file is known to be up to date


def write_trident_slide(cohort: ExportCohort, slide: SlideEmbeddings, path: Path) -> None:
    """TRIDENT's file of slide features: ``features`` [D], and ``coords`` [R, 2] of what they are the mean of."""
    attributes = slide.attributes
    coords = {
        "patch_size": attributes["region_size_px"],
        "patch_size_level0": round(slide.region_size_level0),
        "overlap": 0,
        "level0_width": attributes["level0_width"],
        "level0_height": attributes["level0_height"],
        "name": slide.slide_id,
    }
    encoder = str(attributes.get("region_encoder", ""))
    _write(
        path,
        {"features": slide.slide_embedding, "coords": slide.coords},
        {SOURCE: cohort.source([slide.slide_id])},
        {"features": {"name": slide.slide_id, "encoder": encoder}, "coords": coords},
    )


def write_patho_bench_slide(cohort: ExportCohort, slide: SlideEmbeddings, path: Path) -> None:
    """Patho-Bench's file of a pooled sample: ``features`` [1, D]; its loader takes the first axis away."""
    _write(path, {"features": slide.slide_embedding[None]}, {SOURCE: cohort.source([slide.slide_id])})


def write_patho_bench_patient(cohort: ExportCohort, slide_ids: list[str], path: Path) -> None:
    """The same of all slides of a patient."""
    _write(path, {"features": cohort.vector(slide_ids)[None]}, {SOURCE: cohort.source(slide_ids)})


def write_stamp_slide(cohort: ExportCohort, slide: SlideEmbeddings, path: Path) -> None:
    """STAMP's bag of tiles, which here are regions: ``feats`` [R, D], and ``coords`` [R, 2] in um."""
    attributes = slide.attributes
    side_um = slide.region_size_level0 * slide.level0_mpp
    own = {
        "feat_type": "tile",
        "extractor": _one_word(attributes.get("region_encoder", "")),
        "unit": "um",
        "tile_size_um": side_um,
        "tile_size_px": int(attributes["region_size_px"]),
        SOURCE: cohort.source([slide.slide_id]),
    }
    _write(path, {"feats": slide.features, "coords": slide.coords * slide.level0_mpp}, own)


def write_stamp_patient(cohort: ExportCohort, slide_ids: list[str], path: Path) -> None:
    """STAMP's vector of a patient: ``feats`` [D], ``feat_type`` patient."""
    encoder = _one_word(cohort.attributes.get("region_encoder", ""))
    own = {"feat_type": "patient", "encoder": encoder, "precision": "float32", SOURCE: cohort.source(slide_ids)}
    _write(path, {"feats": cohort.vector(slide_ids)}, own)


def _write(
    path: Path,
    arrays: Mapping[str, NDArray[Any]],
    attributes: Mapping[str, Any],
    of_arrays: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """A small HDF5 file, made in memory: HDF5 does not recover from a full disk."""
    with h5py.File("export", "w", driver="core", backing_store=False) as file:
        for name, values in arrays.items():
            file.create_dataset(name, data=np.ascontiguousarray(values))
            file[name].attrs.update((of_arrays or {}).get(name, {}))
        file.attrs.update({"bundle_version": __version__, **attributes})
        file.flush()
        write_bytes(path, file.id.get_file_image())


def _one_word(encoder: Any) -> str:
    """An encoder's name and the start of its hash, as tools put it into file names."""
    name, _, digest = str(encoder).partition(" sha256:")
    return f"slpd-{name}-{digest[:12]}" if digest else f"slpd-{name}"
