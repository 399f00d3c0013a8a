"""Which lattice the patches of a slide lie on, and which cell of which region each of them takes."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...core import SlideError
from .pitch import checked_pitch, steps_between, tolerance_px

_LINKED = 0.5  # of the patches must have a neighbor on their lattice, or there is none
_NEAR = 4  # pitches within which a neighbor is looked for


class Lattice(NamedTuple):
    """Where patches may lie.

    Attributes:
        pitch: level-0 px from patch to patch.
        derived: the pitch by the coordinates alone; None where patches are too few to tell.
        origin: level-0 px (x, y) of a patch, each in [0, pitch): most patches share it.
        is_single: all patches share it; False where each contour has a phase of its own.
    """

    pitch: float
    derived: float | None
    origin: NDArray[np.float64]
    is_single: bool


class Placement(NamedTuple):
    """Patches in the cells of regions.

    Attributes:
        coords: int64 [R, 2], level-0 px (x, y) of each region's corner, row by row.
        rows: int64 [R, P, P], the number of the patch in each cell; -1 where there is none.
        n_moved: patches that were moved to a cell by more than rounding.
        moved_px: level-0 px of the longest move, along one axis.
        n_left_out: patches further from a cell than the tolerance, second in their cell, or of too empty a region.
    """

    coords: NDArray[np.int64]
    rows: NDArray[np.int64]
    n_moved: int
    moved_px: float
    n_left_out: int


def find_lattice(xy: NDArray[np.float64], stated: float | None, patch: float | None, name: str) -> Lattice:
    """The lattice of patches [N, 2], level-0 px.

    Args:
        xy: top-left corners, level-0 px.
        stated: pitch by the file's attributes, if they say it.
        patch: a patch's side, level-0 px, if it is known.
        name: of the slide, for messages.

    Raises:
        SlideError: the patches lie on no lattice, or on one that the attributes contradict.
    """
    expected = stated or patch
    if expected and _is_one_phase(xy, expected) is None:
        _insist_on_neighbors(xy, name)
    pitch, derived = checked_pitch(xy, stated, patch, name)
    origin = _is_one_phase(xy, pitch)
    if origin is not None:
        return Lattice(pitch, derived, origin, True)
    share = _linked_share(xy, pitch)
    if share < _LINKED:
        raise _no_lattice(name, len(xy), share, f"a pitch of {pitch:.6g} level-0 px")
    return Lattice(pitch, derived, _commonest(np.mod(xy, pitch)), False)


def place(xy: NDArray[np.float64], lattice: Lattice, region_patches: int, snap: float, min_patches: int) -> Placement:
    """Lay square regions over the lattice and give each patch a cell.

    Regions start at the lattice's origin. Where contours have phases of their own, each region takes the phase that
    most of its patches have, and the others are moved to their nearest cell. Of two patches in a cell the nearer stays.

    Args:
        xy: patches [N, 2], level-0 px.
        lattice: of these patches.
        region_patches: cells P on a region's side.
        snap: the longest move along an axis, as a share of the pitch; patches further off are left out.
        min_patches: patches that a region needs; the slide's fullest region is always kept.
    """
    pitch, size, slack = lattice.pitch, lattice.pitch * region_patches, tolerance_px(lattice.pitch)
    relative = xy - lattice.origin
    corner = np.floor((relative + slack) / size)
    regions, region_of = np.unique(corner[:, ::-1], axis=0, return_inverse=True)
    region_of, regions = region_of.ravel(), regions[:, ::-1]
    shift = np.zeros_like(regions)
    if not lattice.is_single:
        shift = _phases(np.mod(relative + slack, pitch) - slack, region_of, len(regions))
    offset = relative - (regions * size + shift)[region_of]
    cell = np.clip(np.rint(offset / pitch), 0, region_patches - 1)
    moved = np.abs(offset - cell * pitch).max(1)
    rows = np.full((len(regions), region_patches, region_patches), -1, np.int64)
    taken = _nearest_of_each_cell(moved, region_of, cell, moved <= max(snap * pitch, slack))
    rows[region_of[taken], cell[taken, 1].astype(int), cell[taken, 0].astype(int)] = taken
    counts = (rows >= 0).sum((1, 2))
    kept = (counts >= min(min_patches, region_patches**2)) | (np.arange(len(counts)) == counts.argmax())
    used = moved[rows[kept][rows[kept] >= 0]]
    coords = np.rint(lattice.origin + regions * size + shift).astype(np.int64)
    is_moved = used > slack
    longest = float(used[is_moved].max(initial=0.0))
    return Placement(coords[kept], rows[kept], int(is_moved.sum()), longest, len(xy) - len(used))


def _is_one_phase(xy: NDArray[np.float64], pitch: float) -> NDArray[np.float64] | None:
    """The phase (x, y) that all patches share, or None. One near zero is zero: the lattice starts at the corner."""
    slack = tolerance_px(pitch)
    angle = np.exp(2j * np.pi * xy / pitch).mean(0)
    center = np.mod(np.angle(angle) / (2 * np.pi) * pitch, pitch)
    off = np.mod(xy - center + pitch / 2, pitch) - pitch / 2
    if np.abs(off).max() > slack:
        return None
    phase = np.mod(center + np.median(off, axis=0), pitch)
    from_corner = np.abs(np.mod(xy + pitch / 2, pitch) - pitch / 2).max(0)
    return np.where(from_corner <= slack, 0.0, np.round(phase, 3))


def _linked_share(xy: NDArray[np.float64], pitch: float) -> float:
    """Share of patches that have another a whole number of pitches away in their row or column."""
    steps = steps_between(xy)
    cells = np.rint(steps.length / pitch)
    is_good = (cells >= 1) & (cells <= _NEAR) & (np.abs(steps.length - cells * pitch) <= tolerance_px(pitch))
    linked = np.zeros(len(xy), bool)
    linked[steps.first[is_good]] = linked[steps.second[is_good]] = True
    return float(linked.mean())


def _insist_on_neighbors(xy: NDArray[np.float64], name: str) -> None:
    """Random places share few rows and columns; said so before a pitch is derived from them."""
    steps = steps_between(xy)
    share = len(np.unique(np.concatenate([steps.first, steps.second]))) / len(xy)
    if share < _LINKED:
        raise _no_lattice(name, len(xy), share, "any pitch")


def _no_lattice(name: str, n_patches: int, share: float, pitch: str) -> SlideError:
    return SlideError(
        f"slide {name}: its coordinates lie on no lattice: {share:.0%} of {n_patches} patches have a neighbor in their "
        f"row or column at {pitch}. Regions need patches cut side by side; cut the slide on a grid."
    )


def _commonest(phases: NDArray[np.float64]) -> NDArray[np.float64]:
    found, counts = np.unique(np.rint(phases), axis=0, return_counts=True)
    return found[counts.argmax()]


def _phases(phases: NDArray[np.float64], region_of: NDArray[np.int64], n_regions: int) -> NDArray[np.float64]:
    """The commonest phase of each region's patches, [R, 2]."""
    keys, counts = np.unique(np.column_stack([region_of, np.rint(phases)]), axis=0, return_counts=True)
    order = np.lexsort((-counts, keys[:, 0]))
    first = np.searchsorted(keys[order, 0], np.arange(n_regions))
    return keys[order][first, 1:]


def _nearest_of_each_cell(
    moved: NDArray[np.float64], region_of: NDArray[np.int64], cell: NDArray[np.float64], is_allowed: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Numbers of the patches that get their cell."""
    allowed = np.flatnonzero(is_allowed)
    order = allowed[np.lexsort((moved[allowed], cell[allowed, 0], cell[allowed, 1], region_of[allowed]))]
    place_of = np.column_stack([region_of[order], cell[order]])
    is_first = np.ones(len(order), bool)
    is_first[1:] = (np.diff(place_of, axis=0) != 0).any(1)
    return order[is_first]
