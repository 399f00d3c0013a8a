"""Smooth random fields, Voronoi distances and jittered points: what tissue is laid out and textured with."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from scipy.spatial import cKDTree

Floats = NDArray[np.float32]


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> Floats:
    """Gaussian noise whose blobs are about `scale` cells wide.

    Args:
        rng: source of the noise.
        shape: (height, width) in cells.
        scale: correlation length in cells, > 0.

    Returns:
        [height, width], mean 0, standard deviation 1 (over a field much larger than `scale`).
    """
    coarse = max(1.0, scale / 4)
    small = tuple(int(np.ceil(n / coarse)) + 2 for n in shape)
    noise = ndimage.gaussian_filter(rng.standard_normal(small, dtype=np.float32), scale / coarse / 2.5, mode="wrap")
    noise /= max(float(noise.std()), 1e-6)
    return resize(noise, (0.0, 0.0, shape[1] / coarse, shape[0] / coarse), shape)


def resize(field: Floats, box: tuple[float, float, float, float], shape: tuple[int, int]) -> Floats:
    """Cuts `box` (left, upper, right, lower; cells) out of a field and samples it bicubically at `shape` pixels.

    Neighboring boxes join without a seam: cells outside the box take part.
    """
    image = Image.fromarray(np.ascontiguousarray(field, dtype=np.float32))
    return np.asarray(image.resize((shape[1], shape[0]), Image.Resampling.BICUBIC, box=box))


class Voronoi(NamedTuple):
    """Seeds [n, 2] (row, column), and for each cell [height, width] its nearest seed and distances in cells."""

    center: Floats  # to the nearest seed
    border: Floats  # to the border between seeds
    nearest: NDArray[np.int64]  # index of the nearest seed
    seeds: NDArray[np.float64]


def voronoi(
    rng: np.random.Generator, shape: tuple[int, int], spacing: float, *, warp: float = 0.0, is_periodic: bool = False
) -> Voronoi:
    """Voronoi cells of jittered seeds `spacing` cells apart; `warp` (cells) bends their straight borders."""
    margin = 0.0 if is_periodic else 1.5 * spacing
    if is_periodic:
        spacing = shape[0] / max(2, round(shape[0] / spacing))
    seeds = jittered_points(rng, (shape[0] + 2 * margin, shape[1] + 2 * margin), spacing, jitter=0.32) - margin
    rows, columns = np.indices(shape, dtype=np.float32)
    if warp:
        rows += warp * smooth_noise(rng, shape, 0.45 * spacing)
        columns += warp * smooth_noise(rng, shape, 0.45 * spacing)
    where = np.stack([rows.ravel(), columns.ravel()], axis=1)
    if is_periodic:
        tree, where = cKDTree(np.mod(seeds, shape), boxsize=shape), np.mod(where, shape)
    else:
        tree = cKDTree(seeds)
    distance, index = tree.query(where, k=2)
    distance = distance.astype(np.float32)
    border = (distance[:, 1] - distance[:, 0]).reshape(shape) / 2
    return Voronoi(distance[:, 0].reshape(shape), border, index[:, 0].reshape(shape), seeds)


def jittered_points(
    rng: np.random.Generator,
    extent: tuple[float, float],
    spacing: float,
    *,
    jitter: float = 0.3,
    within: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    """Points [n, 2] (row, column) on a hexagonal lattice, each moved a little: packed, not stacked.

    Args:
        rng: source of the jitter.
        extent: height and width that the points cover, in cells.
        spacing: distance of neighbors, in cells.
        jitter: largest move along either axis, as a share of the spacing.
        within: [height, width] cells to keep points in; None keeps all.
    """
    rows = np.arange(int(extent[0] / (spacing * 0.866)) + 1)
    columns = np.arange(int(extent[1] / spacing) + 1)
    lattice = np.empty((len(rows), len(columns), 2))
    lattice[..., 0] = (rows * spacing * 0.866)[:, None]
    lattice[..., 1] = spacing * (columns + 0.5 * (rows % 2)[:, None])
    if within is None:
        points = lattice.reshape(-1, 2)
    else:
        row_cells = np.minimum(lattice[:, 0, 0].astype(np.int64), within.shape[0] - 1)
        column_cells = np.minimum(lattice[..., 1].astype(np.int64), within.shape[1] - 1)
        points = lattice[within[row_cells[:, None], column_cells]]
    points += rng.random(points.shape) * (2 * jitter * spacing) - jitter * spacing
    return points[((points >= 0) & (points < np.asarray(extent))).all(axis=1)]


def sample(field: Floats, points: NDArray[np.float64]) -> Floats:
    """Bilinear values of a field at points [n, 2] given in cells (cell i covers i to i + 1)."""
    return ndimage.map_coordinates(field, (points - 0.5).T, order=1, mode="nearest").astype(np.float32)
