"""Where which tissue lies on a slide: patterns of tissues in plots, mixed by diagnosis.

A layout is drawn on cells of 16 um. Scores are signed distances in um: a tissue is where its score is positive.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .arrangements import CELL_UM, DIAGNOSES, TASKS, arrange, pattern_counts
from .fields import Floats, smooth_noise
from .tissue import Scores

REGION_UM = 2048.0
REGION_CELLS = int(REGION_UM / CELL_UM)


class Layout(NamedTuple):
    """Fields [height, width] on cells of 16 um."""

    scores: Scores
    infiltrate: Floats  # density of single lymphocytes in stroma, 0 to 1
    fiber: Floats  # collagen runs along the contours of this field, um
    thickness: Floats  # of the section, 1 on average; folds are thicker
    pattern: NDArray[np.uint8]  # index into the task's patterns


def draw_layout(rng: np.random.Generator, shape: tuple[int, int], diagnosis: str, tissue_share: float) -> Layout:
    """Lays out one slide.

    Args:
        rng: source of every random number.
        shape: (height, width) in cells of 16 um.
        diagnosis: a key of `arrangements.DIAGNOSES`.
        tissue_share: share of the slide that tissue covers, in (0, 1).
    """
    tissue = _outline(rng, shape, tissue_share)
    pattern = _pattern_map(rng, shape, diagnosis, tissue)
    found = arrange(rng, pattern, tissue > 0, diagnosis)
    scores = Scores(
        tissue=tissue,
        tumor=found.tumor,
        lumen=found.lumen,
        lymphoid=found.lymphoid,
        fat=found.fat,
        necrosis=found.necrosis,
        vessel=_vessels(rng, shape, found.tumor),
    )
    return Layout(
        scores=scores,
        infiltrate=found.infiltrate,
        fiber=_fibers(rng, shape, found.tumor),
        thickness=_thickness(rng, shape),
        pattern=pattern,
    )


def _outline(rng: np.random.Generator, shape: tuple[int, int], share: float) -> Floats:
    """One or two pieces with a ragged edge and a few tears, covering `share` of the slide."""
    rows, columns = np.indices(shape, dtype=np.float32)
    y, x = rows / shape[0] * 2 - 1, columns / shape[1] * 2 - 1
    angle, power = rng.uniform(0, np.pi), rng.uniform(2.2, 3.5)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    body = -(np.abs(u / 1.08) ** power + np.abs(v / 0.92) ** power)
    body += 0.22 * smooth_noise(rng, shape, 70) + 0.035 * smooth_noise(rng, shape, 9)
    body -= 4.0 * np.maximum(np.maximum(np.abs(x), np.abs(y)) - 0.93, 0) / 0.07
    if rng.random() < 0.4:
        gap = np.abs(v - rng.uniform(-0.25, 0.25) + 0.05 * smooth_noise(rng, shape, 70))
        body -= 2.0 * np.maximum(0.05 - gap, 0) / 0.05
    inside = CELL_UM * (body - np.quantile(body, 1 - share)) / 0.02
    tear = 420 * np.abs(smooth_noise(rng, shape, 60)) - 17 + 260 * np.maximum(1.25 - smooth_noise(rng, shape, 75), 0)
    return np.clip(np.minimum(inside, tear), -400, 400).astype(np.float32)


def _pattern_map(rng: np.random.Generator, shape: tuple[int, int], diagnosis: str, tissue: Floats) -> NDArray[np.uint8]:
    """A pattern for each plot of tissue; plots have bent borders."""
    task = TASKS[DIAGNOSES[diagnosis]]
    plot = int(task.plot_um / CELL_UM)
    n_rows, n_columns = (-(-n // plot) for n in shape)
    padded = np.zeros((n_rows * plot, n_columns * plot), dtype=bool)
    padded[: shape[0], : shape[1]] = tissue > 0
    covered = padded.reshape(n_rows, plot, n_columns, plot).mean(axis=(1, 3)) > 0.15
    kinds, shares = np.arange(len(task.patterns)), task.diagnoses[diagnosis]
    plots = rng.choice(kinds, size=(n_rows, n_columns), p=shares).astype(np.uint8)
    plots[covered] = rng.permutation(np.repeat(kinds, pattern_counts(rng, diagnosis, int(covered.sum()))))
    rows, columns = np.indices(shape)
    rows = np.clip((rows + 18 * smooth_noise(rng, shape, 45)) / plot, 0, n_rows - 1).astype(np.int64)
    columns = np.clip((columns + 18 * smooth_noise(rng, shape, 45)) / plot, 0, n_columns - 1).astype(np.int64)
    return plots[rows, columns]


def _vessels(rng: np.random.Generator, shape: tuple[int, int], tumor: Floats) -> Floats:
    """Small round vessels, about six a region, outside of tumor."""
    score = np.full(shape, -150.0, dtype=np.float32)
    n_vessels = int(6 * shape[0] * shape[1] / REGION_CELLS**2)
    rows, columns = np.indices((13, 13)) - 6
    for row, column in rng.integers(7, np.asarray(shape) - 7, size=(n_vessels, 2)):
        radius, stretch = rng.uniform(18, 46), rng.uniform(0.7, 1.4)
        disc = radius - CELL_UM * np.hypot(rows * stretch, columns / stretch)
        window = score[row - 6 : row + 7, column - 6 : column + 7]
        if tumor[row, column] < -20:
            np.maximum(window, disc.astype(np.float32), out=window)
    return score


def _fibers(rng: np.random.Generator, shape: tuple[int, int], tumor: Floats) -> Floats:
    """Collagen's potential: wavy along a direction of its own, wrapped around nests."""
    rows, columns = np.indices(shape, dtype=np.float32)
    angle = rng.uniform(0, np.pi)
    along = CELL_UM * (rows * np.cos(angle) + columns * np.sin(angle))
    wavy = 260 * smooth_noise(rng, shape, 55) + 35 * smooth_noise(rng, shape, 16)
    return (along + wavy + 2.5 * np.clip(tumor, -90, 0)).astype(np.float32)


def _thickness(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """Slow changes of a few percent, and now and then a fold where the section lies double."""
    slow = 1 + 0.05 * smooth_noise(rng, shape, 120)
    if rng.random() < 0.35:
        fold = np.exp(-((smooth_noise(rng, shape, 130) / 0.035) ** 2)) * (smooth_noise(rng, shape, 110) > 0.7)
        slow = slow + 0.7 * ndimage.gaussian_filter(fold.astype(np.float32), 0.8)
    return slow.astype(np.float32)
