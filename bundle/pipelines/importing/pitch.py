"""How far apart patches lie: derived from their coordinates, then held against what their file says."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...core import SlideError

_ROUNDING_PX = 1.5  # corners are rounded to whole px, some tools round twice
_SAME = 0.005  # two pitches are the same within this share
_OFTEN = 0.1  # of all steps between neighbors; below it a step is where two contours happen to meet
_FEW_STEPS = 8


class Steps(NamedTuple):
    """From each patch to the next one of its row and of its column.

    Attributes:
        length: level-0 px, [n].
        first: number of the patch a step leads away from, [n].
        second: number of the patch it leads to, [n].
    """

    length: NDArray[np.float64]
    first: NDArray[np.int64]
    second: NDArray[np.int64]


def tolerance_px(pitch: float) -> float:
    """How far from its lattice, in level-0 px, a patch may lie and still be called on it."""
    return max(_ROUNDING_PX, 0.02 * pitch)


def steps_between(xy: NDArray[np.float64]) -> Steps:
    """Steps between patches [N, 2] that share a row or a column; patches in one place make none."""
    parts = []
    for axis in (0, 1):
        across = np.round(xy[:, 1 - axis], 1)
        order = np.lexsort((xy[:, axis], across))
        length = np.diff(xy[order, axis])
        is_step = (np.diff(across[order]) == 0) & (length > 0)
        parts.append((length[is_step], order[:-1][is_step], order[1:][is_step]))
    return Steps(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def derived_pitch(steps: Steps) -> float | None:
    """The shortest step that is met often; None where no two patches share a row or a column.

    Patches without overlap lie at least a pitch apart, and tissue is dense: most steps are one pitch long. Contours
    with lattices of their own (CLAM) add a few of any length, which are too rare to count.
    """
    length = np.sort(steps.length)
    if not len(length):
        return None
    alike = np.searchsorted(length, length + 2 * _ROUNDING_PX, side="right") - np.arange(len(length))
    first = int(np.argmax(alike >= max(1, _OFTEN * len(length))))
    return _refined(steps, float(np.median(length[first : first + alike[first]])))


def checked_pitch(
    xy: NDArray[np.float64], stated: float | None, patch: float | None, name: str
) -> tuple[float, float | None]:
    """The pitch to use, and the one that was derived.

    Args:
        xy: patches [N, 2], level-0 px.
        stated: pitch by the file's attributes, level-0 px.
        patch: a patch's side by the file's attributes, level-0 px: what stands in where patches are too few.
        name: of the slide, for messages.

    Raises:
        SlideError: both are there and differ; or neither is; or patches leave gaps that no attribute knows of.
    """
    steps = steps_between(xy)
    derived = derived_pitch(steps)
    expected = stated or patch
    if derived is None or (len(steps.length) < _FEW_STEPS and expected and _are_multiples(steps.length, expected)):
        if not expected:
            raise SlideError(
                f"slide {name}: no two of its {len(xy)} patches lie side by side and no attribute says how far apart "
                "they are; leave it out, or give its coordinates file (coords_dir)."
            )
        return expected, derived
    if stated is not None and not _is_same(derived, stated):
        raise SlideError(
            f"slide {name}: its patches lie {derived:.6g} level-0 px apart, its attributes say {stated:.6g}. One of "
            "them is of another slide or level: make coordinates and features anew, together."
        )
    if stated is None and patch is not None and derived > patch and not _is_same(derived, patch):
        raise SlideError(
            f"slide {name}: its patches lie {derived:.6g} level-0 px apart and are {patch:.6g} px wide: there are gaps "
            "that no attribute knows of. Its coordinates are of another level or another run; make them anew."
        )
    return _simplest(xy, derived, expected), derived


def _is_same(a: float, b: float) -> bool:
    return abs(a - b) <= max(_ROUNDING_PX, _SAME * b)


def _are_multiples(length: NDArray[np.float64], pitch: float) -> bool:
    return bool((np.abs(length - np.rint(length / pitch) * pitch) <= tolerance_px(pitch)).all())


def _simplest(xy: NDArray[np.float64], derived: float, expected: float | None) -> float:
    """The expected pitch, or the next whole number, if it leads to the same pixel even at the far end."""
    n_cells = max(1.0, float(np.ptp(xy, axis=0).max()) / derived)
    for candidate in (expected, float(round(derived))):
        if candidate and abs(candidate - derived) * n_cells < 1:
            return candidate
    return derived


def _refined(steps: Steps, pitch: float) -> float:
    """Mean of the steps that are whole multiples of a first guess, by the number of pitches in each.

    Where a tool's steps are of two lengths (STAMP: within its blocks and between them) it is the mean that counts.
    """
    cells = np.rint(steps.length / pitch)
    is_good = (cells > 0) & (np.abs(steps.length - cells * pitch) <= tolerance_px(pitch))
    return float(steps.length[is_good].sum() / cells[is_good].sum()) if is_good.any() else pitch
