"""Made-up slides, as inference writes them, for tests of what shows and searches them."""

from dataclasses import replace
from typing import Any

import numpy as np

from bundle.storage import SlideEmbeddings


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows of length 1, float32."""
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def made_up_slide(
    slide_id: str = "slide_a",
    n_regions: int = 12,
    n_prototypes: int = 3,
    *,
    seed: int = 0,
    has_attention: bool = True,
    side: int = 16,
    level0_mpp: float = 0.25,
    **attributes: Any,
) -> SlideEmbeddings:
    """Regions in rows of four around noisy prototypes; ``attributes`` stand in place of the usual ones."""
    rng = np.random.default_rng(seed)
    prototypes = unit(rng.standard_normal((n_prototypes, 32)))
    truth = np.arange(n_regions) % n_prototypes
    projection = prototypes[truth] + 0.05 * rng.standard_normal((n_regions, 32)).astype(np.float32)
    projection /= np.linalg.norm(projection, axis=1, keepdims=True)
    features = rng.standard_normal((n_regions, 24)).astype(np.float32)
    size = 2048 / level0_mpp
    cells = np.stack([np.arange(n_regions) % 4, np.arange(n_regions) // 4], 1)
    attention = rng.random((n_regions, 6, side, side))
    attention /= 1.1 * attention.sum((2, 3), keepdims=True)
    columns, rows = cells.max(0) + 1
    usual = {
        "mpp": 0.5,
        "level0_mpp": level0_mpp,
        "level0_width": int(columns * size),
        "level0_height": int(rows * size),
        "region_size_level0": size,
        "region_size_px": 4096,
        "patch_size_px": 256,
        "slide_path": f"{slide_id}.tiff",
        "reader": "cucim",
        "encoder": "made up sha256:0",
        "region_encoder": "made up sha256:1",
    }
    return SlideEmbeddings(
        slide_id=slide_id,
        features=features,
        projection=projection,
        coords=np.round(cells * size).astype(np.int64),
        mask=rng.random((n_regions, side, side)) > 0.2,
        slide_embedding=features.mean(0),
        prototypes=prototypes,
        assignment=truth.astype(np.int64),
        attention=attention.astype(np.float16) if has_attention else None,
        attributes=usual | attributes,
    )


def without_prototypes(slide: SlideEmbeddings) -> SlideEmbeddings:
    """The same with regions that belong to none."""
    return replace(slide, prototypes=slide.prototypes[:0], assignment=np.full(len(slide), -1))
