"""A slide's regions: planned from its tissue, read as patches."""

import logging
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..cohort import SlideError
from .grid import RegionGrid, region_grid
from .roi import roi_mask
from .slide import Slide
from .tissue import tissue_mask

_TISSUE_MPP = 8.0
_log = logging.getLogger(__name__)


def plan_slide(
    slide: Slide,
    *,
    roi: str | Path | None = None,
    mpp: float = 0.5,
    region_patches: int = 16,
    patch_size: int = 256,
    min_tissue: float = 0.1,
    min_tissue_patches: int = 8,
) -> RegionGrid:
    """Find tissue on a thumbnail, limit it to the region of interest, lay the grid.

    Args:
        slide: an open slide.
        roi: GeoJSON that limits the tissue, or None.
        mpp, region_patches, patch_size, min_tissue, min_tissue_patches: see :func:`region_grid`.

    Raises:
        SlideError: there is no tissue, or the slide does not decode.
        BundleError: the GeoJSON is none.
    """
    if slide.mpp > mpp * 1.02:
        _log.warning(
            "slide %s is enlarged: its finest level has %g um/px, asked for are %g", slide.slide_id, slide.mpp, mpp
        )
    picture, tissue_mpp = slide.thumbnail(_TISSUE_MPP, max_px=8192)
    tissue = tissue_mask(picture, tissue_mpp)
    where = ""
    if roi is not None:
        tissue &= roi_mask(roi, picture.shape[1], picture.shape[0], tissue_mpp / slide.mpp)
        where = f" within the region of interest {Path(roi).name}"
    grid = region_grid(
        tissue,
        tissue_mpp,
        slide_width=slide.width,
        slide_height=slide.height,
        level0_mpp=slide.mpp,
        mpp=mpp,
        read_mpp=slide.read_mpp(mpp),
        region_patches=region_patches,
        patch_size=patch_size,
        min_tissue=min_tissue,
        min_tissue_patches=min_tissue_patches,
    )
    if not len(grid.coords):
        size = f"{picture.shape[1]} x {picture.shape[0]}"
        raise SlideError(
            f"slide {slide.slide_id} ({slide.path.name}) has no tissue{where}: a thumbnail of {size} px "
            f"at {tissue_mpp:g} um/px shows none. Look at it; leave it out, or draw its tissue as a roi."
        )
    return grid


def read_patches(
    slide: Slide,
    xy: ArrayLike,
    mask: NDArray[np.bool_],
    *,
    mpp: float = 0.5,
    patch_size: int = 256,
    region_patches: int = 16,
) -> NDArray[np.uint8]:
    """The patches of one region that ``mask`` names, in row-major order, uint8 [n, patch_size, patch_size, 3].

    Only the rows and columns of patches that are asked for are decoded.

    Args:
        slide: an open slide.
        xy: level-0 px of the region's top-left corner; may be negative.
        mask: bool [P, P].
        mpp: um/px.
        patch_size: px.
        region_patches: P.

    Raises:
        SlideError: the region does not decode.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return np.empty((0, patch_size, patch_size, 3), np.uint8)
    first, last = (rows[0], columns[0]), (rows[-1] + 1, columns[-1] + 1)
    step = patch_size * slide.read_mpp(mpp) / slide.mpp
    x, y = (float(corner + start * step) for corner, start in zip(np.asarray(xy), first[::-1], strict=True))
    n_rows, n_columns = last[0] - first[0], last[1] - first[1]
    picture, _ = slide.read(x, y, n_columns * patch_size, n_rows * patch_size, mpp)
    tiles = picture.reshape(n_rows, patch_size, n_columns, patch_size, 3).swapaxes(1, 2)
    return np.ascontiguousarray(tiles[mask[first[0] : last[0], first[1] : last[1]]])
