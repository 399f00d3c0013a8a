"""Which regions of a slide are read."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class RegionGrid(NamedTuple):
    """Regions of a slide.

    Attributes:
        coords: int64 [R, 2], level-0 px (x, y) of each region's top-left corner, row by row.
        mask: bool [R, P, P], the patch holds tissue.
    """

    coords: NDArray[np.int64]
    mask: NDArray[np.bool_]


def region_grid(
    tissue: NDArray[np.bool_],
    tissue_mpp: float,
    *,
    slide_width: int,
    slide_height: int,
    level0_mpp: float,
    mpp: float = 0.5,
    read_mpp: float | None = None,
    region_patches: int = 16,
    patch_size: int = 256,
    min_tissue: float = 0.1,
    min_tissue_patches: int = 8,
) -> RegionGrid:
    """Lay regions edge to edge from the slide's corner and keep those over tissue.

    Region i starts at ``round(i * region_patches * patch_size * mpp / level0_mpp)``. An axis along which the slide is
    shorter than a region has one region, with the slide in its middle: its corner is negative. A slide with any tissue
    keeps its best region, even below ``min_tissue_patches``.

    Args:
        tissue: mask of the whole slide, [h, w].
        tissue_mpp: um/px of the mask.
        slide_width, slide_height: level-0 px.
        level0_mpp: um/px of level 0.
        mpp: um/px of which the grid is made.
        read_mpp: um/px at which patches are really read, if another (a level within the reader's tolerance).
        region_patches: patches P on a region's side.
        patch_size: px on a patch's side.
        min_tissue: share of a patch that must be tissue, in (0, 1].
        min_tissue_patches: patches with tissue that a region needs; a smaller P * P counts.

    Returns:
        The regions; none where there is no tissue.
    """
    patch = patch_size * (read_mpp or mpp) / level0_mpp
    size = region_patches * patch_size * mpp / level0_mpp
    xs, ys = _starts(slide_width, size), _starts(slide_height, size)
    share = _area_share(
        tissue, tissue_mpp / level0_mpp, _edges(xs, patch, region_patches), _edges(ys, patch, region_patches)
    )
    share = share.reshape(len(ys), region_patches, len(xs), region_patches).swapaxes(1, 2)
    share = share.reshape(-1, region_patches, region_patches)
    mask = share >= max(min_tissue, 1e-9)
    if not mask.any() and share.max(initial=0) > 0:
        mask = share == share.max()  # a biopsy thinner than a patch: its fullest patch
    n_patches = mask.sum((1, 2))
    kept = n_patches >= max(1, min(min_tissue_patches, region_patches**2))
    if not kept.any() and n_patches.max(initial=0) > 0:
        kept[n_patches.argmax()] = True
    corners = np.stack(np.meshgrid(xs, ys), -1).reshape(-1, 2)
    return RegionGrid(corners[kept].astype(np.int64), mask[kept])


def _starts(extent: int, size: float) -> NDArray[np.int64]:
    if extent < size:
        return np.array([round((extent - size) / 2)])
    return np.array([round(i * size) for i in range(int(np.ceil(extent / size - 1e-6)))])


def _edges(starts: NDArray[np.int64], patch: float, n: int) -> NDArray[np.float64]:
    """Start and end of every patch, level-0 px, [regions * n, 2]."""
    left = (starts[:, None] + np.arange(n) * patch).ravel()
    return np.stack([left, left + patch], 1)


def _area_share(
    tissue: NDArray[np.bool_], scale: float, columns: NDArray[np.float64], rows: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Share of tissue in every patch, by a summed-area table read between its entries; outside the slide is none."""
    height, width = tissue.shape
    table = np.zeros((height + 1, width + 1))
    table[1:, 1:] = tissue.cumsum(0, dtype=np.float64).cumsum(1)
    across = _interpolated(table, columns.ravel() / scale, axis=1)
    both = _interpolated(across, rows.ravel() / scale, axis=0)
    sums = np.diff(both.reshape(len(rows), 2, len(columns), 2), axis=1)[:, 0]
    sums = np.diff(sums, axis=2)[..., 0]
    areas = np.outer(rows[:, 1] - rows[:, 0], columns[:, 1] - columns[:, 0]) / scale**2
    return np.clip(sums / areas, 0, 1)


def _interpolated(table: NDArray[np.float64], places: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    places = np.clip(places, 0, table.shape[axis] - 1)
    low = np.minimum(places.astype(int), table.shape[axis] - 2)
    shape = [1, 1]
    shape[axis] = -1
    part = (places - low).reshape(shape)
    return table.take(low, axis) * (1 - part) + table.take(low + 1, axis) * part
