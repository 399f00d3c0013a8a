"""From a layout to the picture, block by block."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .fields import Floats, resize, voronoi
from .layout import CELL_UM, Layout
from .nuclei import Nuclei, stamp_nuclei
from .stain import Look, develop, empty_glass
from .tissue import Scores, Tissue, Uptake, classify, uptake_tables

TILE = 1024  # a power of two
PAD = 16


class Textures(NamedTuple):
    """Periodic textures, drawn once a process. All but `fiber` are two periods long, so that any window is a slice."""

    grain: Floats  # standard normal, about 4 um wide
    fiber: Floats  # standard normal, long along the columns, one period [1024, 1024]
    membrane: Floats  # distance to the next border between fat cells, um
    noise: Floats  # white


@lru_cache(maxsize=2)
def textures(mpp: float) -> Textures:
    """The textures at one resolution; the same on every call and in every process."""
    rng = np.random.default_rng(20230710)
    white = rng.standard_normal((3, TILE, TILE), dtype=np.float32)
    grain = ndimage.gaussian_filter(white[0], 1.6 / mpp, mode="wrap")
    fine = ndimage.gaussian_filter(white[1], (1.6 / mpp, 30 / mpp), mode="wrap")
    coarse = ndimage.gaussian_filter(white[2], (7 / mpp, 70 / mpp), mode="wrap")
    fiber = fine / fine.std() + 0.9 * coarse / coarse.std()
    half = voronoi(rng, (TILE // 2, TILE // 2), 62 / mpp / 2, is_periodic=True).border
    membrane = resize(half, (0, 0, TILE // 2, TILE // 2), (TILE, TILE)) * 2 * mpp
    noise = rng.standard_normal((TILE, TILE), dtype=np.float32)
    more = (0, TILE + 2 * PAD)
    twice = (np.pad(tile, (more, more), mode="wrap") for tile in (grain / grain.std(), membrane, noise))
    return Textures(next(twice), fiber / fiber.std(), next(twice), next(twice))


class Drawing(NamedTuple):
    """All that is needed to draw any block of one slide."""

    layout: Layout
    nuclei: list[Nuclei]
    look: Look
    ink: Floats | None  # marker ink on the layout's cells
    mpp: float


class Window(NamedTuple):
    """A block with a margin around it, in pixels of the slide."""

    row: int
    column: int
    height: int
    width: int

    def texture(self, tile: Floats) -> Floats:
        """The block's window into a doubled periodic texture, [height, width]."""
        row, column = self.row % TILE, self.column % TILE
        return tile[row : row + self.height, column : column + self.width]

    def cells(self, field: Floats, scale: float) -> tuple[Floats, tuple[float, float, float, float]]:
        """The cells of a field around the block, edges repeated, and its box in them (left, upper, right, lower)."""
        first = (int(np.floor(self.row * scale)) - 3, int(np.floor(self.column * scale)) - 3)
        last = (int((self.row + self.height) * scale) + 4, int((self.column + self.width) * scale) + 4)
        spans = (np.clip(np.arange(a, b), 0, n - 1) for a, b, n in zip(first, last, field.shape, strict=True))
        left, upper = self.column * scale - first[1], self.row * scale - first[0]
        return field[np.ix_(*spans)], (left, upper, left + self.width * scale, upper + self.height * scale)

    def cut(self, field: Floats, scale: float, least: float = -np.inf) -> Floats:
        """A field at the block's pixels, [height, width]; one that stays under `least` comes back as its maximum."""
        part, box = self.cells(field, scale)
        if (highest := part.max()) < least:
            return np.full((self.height, self.width), highest, dtype=np.float32)
        return resize(part, box, (self.height, self.width))


def draw_block(drawing: Drawing, row: int, column: int, height: int, width: int) -> NDArray[np.uint8]:
    """The pixels [height, width, 3] at (row, column), both at most 1024 long; blocks join without a seam."""
    scale = drawing.mpp / CELL_UM
    inner = Window(row, column, height, width)
    noise = inner.texture(textures(drawing.mpp).noise)
    ink = None
    if drawing.ink is not None and inner.cells(drawing.ink, scale)[0].max() > 0:
        ink = np.clip(inner.cut(drawing.ink, scale), 0, 1)
    if inner.cells(drawing.layout.scores.tissue, scale)[0].max() < -30:
        return empty_glass(ink, noise, drawing.look)
    hematoxylin, eosin = draw_stains(drawing, Window(row - PAD, column - PAD, height + 2 * PAD, width + 2 * PAD))
    crop = (slice(PAD - 1, 1 - PAD), slice(PAD - 1, 1 - PAD))  # the scanner's blur uses up one pixel
    return develop(hematoxylin[crop], eosin[crop], ink, noise, drawing.look)


def draw_stains(drawing: Drawing, window: Window) -> tuple[Floats, Floats]:
    """Amounts of hematoxylin and eosin in a window, each [height, width]; nuclei cut by its edge are left out."""
    hematoxylin, eosin = _between_nuclei(drawing, window)
    for nuclei in drawing.nuclei:
        stamp_nuclei(hematoxylin, nuclei, (window.row, window.column), drawing.mpp)
    thickness = window.cut(drawing.layout.thickness, drawing.mpp / CELL_UM)
    return hematoxylin * thickness, eosin * thickness


def _between_nuclei(drawing: Drawing, window: Window) -> tuple[Floats, Floats]:
    """Both stains of everything but nuclei."""
    layout, texture, scale = drawing.layout, textures(drawing.mpp), drawing.mpp / CELL_UM
    grain = window.texture(texture.grain)
    scores = Scores(*(window.cut(field, scale, least=-100) for field in layout.scores))
    rough = 3 * grain  # no border is smooth at the scale of a cell
    scores = scores._replace(tumor=scores.tumor + rough, tissue=scores.tissue + rough, fat=scores.fat + rough)
    tissue = classify(scores)
    index = tissue.astype(np.intp)  # and mode="clip": both for speed, every index is valid
    amounts = Uptake(*(table.take(index, mode="clip") for table in uptake_tables()))
    modulation = 1 + amounts.grain * grain + amounts.fiber * _fibers(drawing, window)
    eosin = amounts.eosin * np.maximum(modulation, 0.08)
    hematoxylin = amounts.hematoxylin * np.maximum(modulation, 0.3)
    # Tissue shrinks in processing: a pale cleft opens around nests.
    eosin[(scores.tumor > -8) & (tissue == Tissue.STROMA) & (scores.lymphoid < -20)] *= 0.5
    is_fat = tissue == Tissue.FAT
    if is_fat.any():
        membrane = window.texture(texture.membrane)[is_fat]
        eosin[is_fat] = 0.55 * np.clip(1.6 - membrane / max(drawing.mpp, 1.2), 0, 1)
    return hematoxylin, eosin


def _fibers(drawing: Drawing, window: Window) -> Floats:
    """Collagen texture [height, width]: the straight one, bent along the contours of the layout's fiber field."""
    across = (window.cut(drawing.layout.fiber, drawing.mpp / CELL_UM) / drawing.mpp).astype(np.intp)
    along = np.add.outer(np.arange(window.height) + window.row, np.arange(window.width) + window.column) + (across >> 2)
    index = (across & (TILE - 1)) * TILE + (along & (TILE - 1))
    return textures(drawing.mpp).fiber.take(index, mode="clip")
