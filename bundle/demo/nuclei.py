"""Nuclei: where they sit in each tissue, how they are turned, and their stamps on the hematoxylin image."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .fields import Floats, jittered_points, sample
from .layout import CELL_UM, Layout
from .tissue import Scores, Tissue, classify

N_TURNS, N_VARIANTS = 12, 6


class Kind(NamedTuple):
    """One kind of nucleus. Sizes in um; hematoxylin in units of a typical tumor nucleus's."""

    spacing: float
    length: float
    width: float
    hematoxylin: float
    vesicular: float  # how much paler its middle is, 0 to 1
    chance: dict[Tissue, float]  # probability that a place in this tissue is taken


KINDS = {
    "tumor": Kind(12.5, 11.0, 8.6, 1.05, 0.40, {Tissue.TUMOR: 0.93}),
    "epithelial": Kind(8.8, 12.0, 6.0, 1.15, 0.20, {Tissue.EPITHELIUM: 0.95}),
    "lymphocyte": Kind(8.4, 6.6, 6.2, 1.55, 0.0, {Tissue.LYMPHOID: 0.94}),
    "fibroblast": Kind(20.0, 16.0, 3.6, 1.15, 0.0, {Tissue.STROMA: 0.6, Tissue.WALL: 0.9, Tissue.FAT: 0.1}),
    "debris": Kind(12.0, 3.8, 3.2, 1.1, 0.0, {Tissue.NECROSIS: 0.45}),
    "scattered": Kind(11.0, 6.4, 6.0, 1.5, 0.0, {Tissue.STROMA: 1.0, Tissue.TUMOR: 0.03, Tissue.NECROSIS: 0.06}),
}


class Nuclei(NamedTuple):
    """One kind's nuclei: center (row, column) in px [n, 2], index of its stamp [n]."""

    kind: str
    center: NDArray[np.float64]
    stamp: NDArray[np.int64]


def place_nuclei(rng: np.random.Generator, layout: Layout, mpp: float) -> list[Nuclei]:
    """Fills every tissue of a layout with its nuclei; centers in pixels of `mpp` um."""
    tissues = classify(layout.scores)
    return [_place(rng, layout, tissues, kind, mpp) for kind in KINDS]


def _place(rng: np.random.Generator, layout: Layout, tissues: NDArray[np.uint8], name: str, mpp: float) -> Nuclei:
    kind = KINDS[name]
    is_near = ndimage.binary_dilation(np.isin(tissues, [int(t) for t in kind.chance]), iterations=2)
    points = jittered_points(rng, tissues.shape, kind.spacing / CELL_UM, within=is_near)
    scores = Scores(*(sample(field, points) for field in layout.scores))
    chance = np.zeros(len(Tissue), dtype=np.float32)
    chance[[int(t) for t in kind.chance]] = list(kind.chance.values())
    taken = chance[classify(scores)]
    if name == "scattered":
        taken *= np.where(scores.tumor <= 0, sample(layout.infiltrate, points), 1)
    if name == "epithelial":  # nuclei stand at the base of a gland's cells, away from its lumen
        taken *= (scores.tumor > 3) & (scores.tumor < 30) & (scores.lumen < -14)
    points = points[rng.random(len(points)) < taken]
    stamp = _turns(rng, layout, name, points) * N_VARIANTS + rng.integers(N_VARIANTS, size=len(points))
    return Nuclei(name, points * (CELL_UM / mpp), stamp)


def _turns(rng: np.random.Generator, layout: Layout, name: str, points: NDArray[np.float64]) -> NDArray[np.int64]:
    """Direction of each nucleus's long axis, in twelfths of a half turn from the row direction."""
    angle = rng.uniform(0, np.pi, len(points))
    if name in {"fibroblast", "epithelial"}:
        field = layout.fiber if name == "fibroblast" else layout.scores.tumor
        down, right = (sample(np.asarray(slope), points) for slope in np.gradient(field))
        across = np.arctan2(right, down)
        angle = across + (np.pi / 2 if name == "fibroblast" else 0.0) + rng.normal(0, 0.22, len(points))
    return np.floor(np.mod(angle, np.pi) / np.pi * N_TURNS).astype(np.int64) % N_TURNS


@lru_cache(maxsize=64)
def stamps(name: str, mpp: float) -> Floats:
    """Pictures [N_TURNS * N_VARIANTS, s, s] of one kind of nucleus, odd s, its center in the middle +- half a pixel."""
    kind = KINDS[name]
    rng = np.random.default_rng(sorted(KINDS).index(name))
    reach = int(np.ceil(0.62 * kind.length / mpp + 0.8))
    rows, columns = (np.indices((2 * reach + 1, 2 * reach + 1)) - reach) * mpp
    pictures = []
    for turn in (np.arange(N_TURNS) + 0.5) * np.pi / N_TURNS:
        for _ in range(N_VARIANTS):
            y, x = rows - rng.uniform(-0.5, 0.5) * mpp, columns - rng.uniform(-0.5, 0.5) * mpp
            along, across = y * np.cos(turn) + x * np.sin(turn), x * np.cos(turn) - y * np.sin(turn)
            size = rng.lognormal(0, 0.16 if name == "tumor" else 0.07)
            radius = np.hypot(along / (0.5 * kind.length * size), across / (0.5 * kind.width * size))
            edge_um = (1 - radius) * 0.25 * (kind.length + kind.width) * size
            body = np.clip(edge_um / max(mpp, 0.5) + 0.5, 0, 1)
            chromatin = 1 - kind.vesicular * np.clip(1.15 - radius, 0, 1) + rng.normal(0, 0.10, body.shape)
            pictures.append(body * chromatin * kind.hematoxylin * rng.lognormal(0, 0.13))
    return np.asarray(pictures, dtype=np.float32)


def stamp_nuclei(image: Floats, nuclei: Nuclei, origin: tuple[int, int], mpp: float) -> None:
    """Lays the nuclei over a hematoxylin image in place: the darker of the two stays.

    Args:
        image: [height, width], C-contiguous.
        nuclei: of one kind, anywhere on the slide; those outside the image are left out.
        origin: (row, column) of the image on the slide, px.
        mpp: um per px.
    """
    bank = stamps(nuclei.kind, mpp)
    reach, (height, width) = bank.shape[1] // 2, image.shape
    center = np.rint(nuclei.center).astype(np.int64) - origin
    is_inside = ((center >= reach) & (center < (height - reach, width - reach))).all(axis=1)
    base, stamp = center[is_inside] @ (width, 1), nuclei.stamp[is_inside]
    flat = image.reshape(-1)
    for row in range(-reach, reach + 1):
        for column in range(-reach, reach + 1):
            value = bank[:, row + reach, column + reach]
            if value.max() > 0.02:
                where = base + (row * width + column)
                flat[where] = np.maximum(flat[where], value[stamp])
