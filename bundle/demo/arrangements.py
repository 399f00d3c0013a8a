"""How tissues are arranged in plots: the two tasks, their patterns, the scores of tissues."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .fields import Floats, smooth_noise, voronoi

CELL_UM = 16.0
FAR = -200.0
"""Score in um of a tissue that a pattern has none of."""


class Task(NamedTuple):
    """Two diagnoses and the patterns that slides are made of.

    Attributes:
        patterns: names of the arrangements of a plot.
        diagnoses: expected share of each pattern in the plots of a slide, by diagnosis.
        concentration: of the Dirichlet distribution of a slide's shares, in units of the expected ones.
        plot_um: side of a plot.
    """

    patterns: tuple[str, ...]
    diagnoses: dict[str, tuple[float, ...]]
    concentration: float
    plot_um: float


TASKS = {
    "mixture": Task(
        ("solid", "glandular", "cords", "follicular", "fatty"),
        {"nested": (0.48, 0.16, 0.06, 0.15, 0.15), "infiltrating": (0.06, 0.16, 0.48, 0.15, 0.15)},
        40.0,
        2048.0,
    ),
    "neighbors": Task(
        ("tumor", "lymphoid", "fat", "glands"),
        {"segregated": (0.25, 0.25, 0.25, 0.25), "mingled": (0.25, 0.25, 0.25, 0.25)},
        20.0,
        1024.0,
    ),
}
"""``mixture``: diagnoses differ in how often a plot is arranged how, and so in shares of tissues, too. Its patterns:
solid: large nests parted by septa, necrotic in the middle; glandular: rings around a lumen in stroma; cords: thin
strands threaded through stroma; follicular: lymphoid follicles beside small nests; fatty: fat cells with strands of
stroma.

``neighbors``: every slide is made of islands in stroma, those of a plot of one tissue: tumor, lymphoid tissue, fat or
glands. On slides of the second diagnosis the islands then change places by chance, so that all is the same but which
are neighbors."""

DIAGNOSES = {name: key for key, task in TASKS.items() for name in task.diagnoses}
"""Task of each diagnosis."""


class Arranged(NamedTuple):
    """Scores in um [height, width] of the tissues, and the density of single lymphocytes in stroma, 0 to 1."""

    tumor: Floats
    lumen: Floats
    lymphoid: Floats
    fat: Floats
    necrosis: Floats
    infiltrate: Floats


def pattern_counts(rng: np.random.Generator, diagnosis: str, n_plots: int) -> NDArray[np.int64]:
    """How many plots of each pattern a slide gets: the diagnosis's shares, scattered from slide to slide."""
    task = TASKS[DIAGNOSES[diagnosis]]
    shares = np.array(task.diagnoses[diagnosis])
    shares[shares > 0] = rng.dirichlet(task.concentration * shares[shares > 0])
    counts = np.floor(shares * n_plots).astype(np.int64)
    rest = np.argsort(shares * n_plots - counts)[::-1][: n_plots - int(counts.sum())]
    counts[rest] += 1
    return counts


def arrange(
    rng: np.random.Generator, pattern: NDArray[np.uint8], inside: NDArray[np.bool_], diagnosis: str
) -> Arranged:
    """The tissues of a slide.

    Args:
        rng: source of every random number.
        pattern: of the plot that each cell of 16 um lies in, [height, width].
        inside: cells that hold any tissue, [height, width].
        diagnosis: a key of `DIAGNOSES`.
    """
    if DIAGNOSES[diagnosis] == "mixture":
        return _mixture(rng, pattern)
    return _neighbors(rng, pattern, inside, is_mingled=diagnosis == "mingled")


def _mixture(rng: np.random.Generator, pattern: NDArray[np.uint8]) -> Arranged:
    shape = pattern.shape[0], pattern.shape[1]
    blend = [ndimage.gaussian_filter((pattern == p).astype(np.float32), 5.0) for p in range(5)]

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
    lumen = mixed([FAR, glandular - 62, FAR, FAR, FAR])
    necrosis = mixed([solid - 120 + 45 * smooth_noise(rng, shape, 22), FAR, FAR, FAR, FAR])
    return Arranged(tumor, lumen, lymphoid, fat.astype(np.float32), necrosis, infiltrate.astype(np.float32))


ISLAND_UM, GAP_UM = 360.0, 110.0
"""How far the middles of islands are apart, and their edges."""


def _neighbors(
    rng: np.random.Generator, pattern: NDArray[np.uint8], inside: NDArray[np.bool_], *, is_mingled: bool
) -> Arranged:
    shape = pattern.shape[0], pattern.shape[1]
    islands = voronoi(rng, shape, ISLAND_UM / CELL_UM, warp=3.0)
    rows, columns = np.clip(islands.seeds.astype(np.int64), 0, np.asarray(shape) - 1).T
    tissues = pattern[rows, columns]  # of the whole island: none is cut where plots meet
    order = rng.permutation(np.flatnonzero(inside[rows, columns]))
    if is_mingled:
        tissues[np.sort(order)] = tissues[order]
    tissue = tissues[islands.nearest]
    depth = CELL_UM * islands.border - GAP_UM / 2 + 8 * smooth_noise(rng, shape, 9)
    ring = 74 - CELL_UM * voronoi(rng, shape, 165 / CELL_UM, warp=1.2).center + 5 * smooth_noise(rng, shape, 9)

    def of(kind: int, score: Floats) -> Floats:
        return np.where(tissue == kind, score, FAR).astype(np.float32)

    infiltrate = np.clip(0.12 * (1 + 0.8 * smooth_noise(rng, shape, 16)), 0.02, 0.7)
    return Arranged(
        tumor=np.maximum(of(0, depth), of(3, np.minimum(depth, ring))),
        lumen=of(3, np.minimum(depth, ring - 40)),
        lymphoid=of(1, depth),
        fat=of(2, depth),
        necrosis=np.full(shape, FAR, dtype=np.float32),
        infiltrate=infiltrate.astype(np.float32),
    )
