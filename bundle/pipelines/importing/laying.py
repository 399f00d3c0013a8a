"""The patches of one slide in the cells of regions, whichever way its file keeps them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...core import SlideError
from .lattice import find_lattice, place
from .layouts.layout import FeatureFile, Said
from .pitch import checked_pitch


class Laid(NamedTuple):
    """Where a slide's patches go; lengths in level-0 px.

    Attributes:
        coords: int64 [R, 2], corners of the regions.
        rows: int64 [R, P, P], the row in each cell; -1 where there is none.
        pitch, derived: from patch to patch, as used, and as the coordinates alone say it (None: too few).
        patch_level0: a patch's side.
        extent: [2], the last patch's corner along each axis.
        n_moved, moved_px, n_left_out: see :class:`~.lattice.Placement`.
    """

    coords: NDArray[np.int64]
    rows: NDArray[np.int64]
    pitch: float
    derived: float | None
    patch_level0: float
    extent: NDArray[np.float64]
    n_moved: int = 0
    moved_px: float = 0.0
    n_left_out: int = 0


def patch_length(file: FeatureFile, said: Said) -> float:
    """A patch's side in level-0 px; by the pitch of the coordinates where no attribute says it."""
    if said.patch_level0 is not None:
        return said.patch_level0
    xy = file.coords()
    if said.region_patches:
        return checked_pitch(xy, None, None, file.slide_id)[0] / said.region_patches
    return find_lattice(xy, said.pitch_level0, None, file.slide_id).pitch


def lay(
    file: FeatureFile,
    said: Said,
    xy: NDArray[np.float64],
    is_inside: NDArray[np.bool_],
    region_patches: int,
    snap: float,
    min_patches: int,
) -> Laid:
    """Regions of a slide.

    Args:
        file: the slide.
        said: what it says, in level-0 px.
        xy: [N, 2] of patches, or [R, 2] of regions; level-0 px.
        is_inside: [N], the patch begins on the slide; the others are left out.
        region_patches: patches P on a region's side.
        snap, min_patches: see :func:`~.lattice.place`.

    Raises:
        SlideError: the patches are on no lattice, or regions are of another size than asked for.
    """
    patch = patch_length(file, said)
    if said.region_patches:
        return _whole_regions(file, said, xy, region_patches, patch)
    numbers = np.flatnonzero(is_inside)
    xy = xy[numbers]
    lattice = find_lattice(xy, said.pitch_level0, patch, file.slide_id)
    placed = place(xy, lattice, region_patches, snap, min_patches)
    rows = np.where(placed.rows >= 0, numbers[placed.rows], -1)
    n_left_out = placed.n_left_out + len(is_inside) - len(numbers)
    moves = (placed.n_moved, placed.moved_px, n_left_out)
    return Laid(placed.coords, rows, lattice.pitch, lattice.derived, patch, xy.max(0), *moves)


def _whole_regions(file: FeatureFile, said: Said, xy: NDArray[np.float64], region_patches: int, patch: float) -> Laid:
    side = said.region_patches
    if side != region_patches:
        raise SlideError(
            f"slide {file.slide_id}: its regions are {side} x {side} patches, {region_patches} x {region_patches} are "
            f"asked for: pass --region_patches {side}."
        )
    rows = np.arange(said.n_rows, dtype=np.int64).reshape(-1, side, side)
    return Laid(np.rint(xy).astype(np.int64), rows, patch, None, patch, xy.max(0) + (side - 1) * patch)
