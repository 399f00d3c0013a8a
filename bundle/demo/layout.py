"""Where which tissue lies on a slide: five ways to arrange the same tissues, mixed by diagnosis.

A layout is drawn on cells of 16 um. Scores are signed distances in um: a tissue is where its score is positive.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .fields import Floats, smooth_noise, voronoi
from .tissue import Scores

CELL_UM = 16.0
REGION_UM = 2048.0
REGION_CELLS = int(REGION_UM / CELL_UM)

PATTERNS = ("solid", "glandular", "cords", "follicular", "fatty")
"""Arrangements of a region. solid: large nests parted by septa, necrotic in the middle; glandular: rings around a
lumen in stroma; cords: thin strands threaded through stroma; follicular: lymphoid follicles beside small nests; fatty:
fat cells with strands of stroma."""

DIAGNOSES: dict[str, tuple[float, ...]] = {
    "nested": (0.48, 0.16, 0.06, 0.15, 0.15),
    "infiltrating": (0.06, 0.16, 0.48, 0.15, 0.15),
}
"""Expected share of each pattern in the regions of a slide, by diagnosis."""


class Layout(NamedTuple):
    """Fields [height, width] on cells of 16 um."""

    scores: Scores
    infiltrate: Floats  # density of single lymphocytes in stroma, 0 to 1
    fiber: Floats  # collagen runs along the contours of this field, um
    thickness: Floats  # of the section, 1 on average; folds are thicker
    pattern: NDArray[np.uint8]  # index into PATTERNS


def pattern_counts(rng: np.random.Generator, diagnosis: str, n_regions: int) -> NDArray[np.int64]:
    """How many regions of each pattern a slide gets: the diagnosis's shares, scattered from slide to slide."""
    shares = rng.dirichlet(40 * np.asarray(DIAGNOSES[diagnosis]))
    counts = np.floor(shares * n_regions).astype(np.int64)
    rest = np.argsort(shares * n_regions - counts)[::-1][: n_regions - int(counts.sum())]
    counts[rest] += 1
    return counts


def draw_layout(rng: np.random.Generator, shape: tuple[int, int], diagnosis: str, tissue_share: float) -> Layout:
    """Lays out one slide.

    Args:
        rng: source of every random number.
        shape: (height, width) in cells of 16 um.
        diagnosis: a key of `DIAGNOSES`.
        tissue_share: share of the slide that tissue covers, in (0, 1).
    """
    tissue = _outline(rng, shape, tissue_share)
    pattern = _pattern_map(rng, shape, diagnosis, tissue)
    blend = [ndimage.gaussian_filter((pattern == p).astype(np.float32), 5.0) for p in range(len(PATTERNS))]

    def mixed(scores: Sequence[Floats | float]) -> Floats:
        return np.sum([w * s for w, s in zip(blend, scores, strict=True)], axis=0, dtype=np.float32)

    nests = voronoi(rng, shape, 560 / CELL_UM, warp=3.5)
    glands = voronoi(rng, shape, 300 / CELL_UM, warp=2.2)
    solid = CELL_UM * nests.border - 40 - 10 * smooth_noise(rng, shape, 12)
    glandular = 118 - CELL_UM * glands.center + 14 * smooth_noise(rng, shape, 9)
    cords = 45 - 105 * np.abs(smooth_noise(rng, shape, 13)) + 12 * smooth_noise(rng, shape, 30)
    small_nests = 70 * (smooth_noise(rng, shape, 11) - 0.75)
    tumor = mixed([solid, glandular, cords, small_nests, small_nests - 75])
    follicles = 95 * smooth_noise(rng, shape, 19)
    lymphoid = mixed([follicles - 150, follicles - 165, follicles - 185, follicles - 42, follicles - 185])
    fat = mixed([-150, -150, -150, -120, 90 * (smooth_noise(rng, shape, 26) + 0.65)])
    fat = np.minimum(fat, -tumor - 25)
    infiltrate = np.clip(mixed([0.14, 0.14, 0.34, 0.3, 0.06]) * (1 + 0.8 * smooth_noise(rng, shape, 16)), 0.02, 0.7)
    scores = Scores(
        tissue=tissue,
        tumor=tumor,
        lumen=mixed([-200, glandular - 62, -200, -200, -200]),
        lymphoid=lymphoid,
        fat=fat.astype(np.float32),
        necrosis=mixed([solid - 120 + 45 * smooth_noise(rng, shape, 22), -200, -200, -200, -200]),
        vessel=_vessels(rng, shape, tumor),
    )
    return Layout(
        scores=scores,
        infiltrate=infiltrate.astype(np.float32),
        fiber=_fibers(rng, shape, tumor),
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
    """A pattern for each region-sized plot of tissue; plots have bent borders."""
    n_rows, n_columns = (-(-n // REGION_CELLS) for n in shape)
    padded = np.zeros((n_rows * REGION_CELLS, n_columns * REGION_CELLS), dtype=bool)
    padded[: shape[0], : shape[1]] = tissue > 0
    covered = padded.reshape(n_rows, REGION_CELLS, n_columns, REGION_CELLS).mean(axis=(1, 3)) > 0.15
    plots = rng.choice(len(PATTERNS), size=(n_rows, n_columns), p=DIAGNOSES[diagnosis]).astype(np.uint8)
    counts = pattern_counts(rng, diagnosis, int(covered.sum()))
    plots[covered] = rng.permutation(np.repeat(np.arange(len(PATTERNS)), counts))
    rows, columns = np.indices(shape)
    rows = np.clip((rows + 18 * smooth_noise(rng, shape, 45)) / REGION_CELLS, 0, n_rows - 1).astype(np.int64)
    columns = np.clip((columns + 18 * smooth_noise(rng, shape, 45)) / REGION_CELLS, 0, n_columns - 1).astype(np.int64)
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
