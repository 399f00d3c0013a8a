"""The raster on which a slide's tokens lie."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...storage import SlideEmbeddings


@dataclass(frozen=True)
class TokenRaster:
    """A slide as cells of one token each; it covers the slide and all regions.

    R regions of P x P tokens. Cell (row, column) covers level-0 px ``origin + (column, row) * pitch`` up to the next
    cell. A region lies at its nearest cell: at most half a token off, and exactly there where regions lie edge to edge.

    Attributes:
        origin: level-0 px (x, y) of the raster's top-left corner: 0 where regions lie on a grid from the slide's
            corner, negative where one begins outside the slide, or within a cell.
        pitch: side of a cell, level-0 px.
        shape: rows and columns.
        first_cells: row and column of each region's first token, int [R, 2].
        mask: the token holds tissue, bool [R, P, P].
        level0_mpp: um/px of level 0.
        level0_size: width and height of the slide, level-0 px.
    """

    origin: tuple[float, float]
    pitch: float
    shape: tuple[int, int]
    first_cells: NDArray[np.int64]
    mask: NDArray[np.bool_]
    level0_mpp: float
    level0_size: tuple[int, int]

    @classmethod
    def of(cls, slide: SlideEmbeddings) -> TokenRaster:
        """The raster of a slide that inference has seen."""
        return cls.lay(slide.coords, slide.region_size_level0, slide.mask, slide.level0_mpp, slide.level0_size)

    @classmethod
    def lay(
        cls,
        coords: NDArray[np.int64],
        region_size: float,
        mask: NDArray[np.bool_],
        level0_mpp: float,
        level0_size: tuple[int, int],
    ) -> TokenRaster:
        """Lay a raster through the regions; it begins at the slide's corner where their grid does.

        Args:
            coords: level-0 px (x, y) of the regions' top-left corners, [R, 2], R at least 1.
            region_size: side of a region, level-0 px.
            mask, level0_mpp, level0_size: see the class.
        """
        pitch = region_size / mask.shape[1]
        corners = coords.astype(np.float64)
        least = corners.min(0)
        # start of a region and size of each before it are rounded, by half a px each
        rounding = 0.5 * (np.maximum(least, 0) / region_size + 1)
        # whole cells in front of the first region, so that tokens lie on cells
        origin = least - np.maximum(np.ceil((least - rounding) / pitch), 0) * pitch
        origin[(np.abs(origin) <= rounding) & (least >= 0)] = 0
        cells = np.round((corners - origin) / pitch).astype(np.int64)[:, ::-1]
        n_cells = np.ceil((level0_size - origin) / pitch - 1e-6).astype(np.int64)
        rows, columns = np.maximum(cells.max(0) + mask.shape[1], n_cells[::-1]).tolist()
        start = float(origin[0]), float(origin[1])
        return cls(start, pitch, (rows, columns), cells, mask, level0_mpp, level0_size)

    @property
    def pitch_um(self) -> float:
        """Side of a cell, um."""
        return self.pitch * self.level0_mpp

    def paint(self, values: ArrayLike) -> NDArray[np.float32]:
        """Lay values on the raster, float32 [rows, columns]; NaN where there is no tissue.

        Args:
            values: one a region [R], or one a token [R, P, P].
        """
        numbers = np.asarray(values, np.float32)
        if numbers.ndim == 1:
            numbers = np.broadcast_to(numbers[:, None, None], self.mask.shape)
        raster = np.full(self.shape, np.nan, np.float32)
        side = self.mask.shape[1]
        for (row, column), region, holds in zip(self.first_cells.tolist(), numbers, self.mask, strict=True):
            window = raster[row : row + side, column : column + side]
            window[holds] = region[holds]
        return raster

    def blocks(self, chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """The cells of whole regions, tissue or not, bool [rows, columns]; ``chosen``: which regions, bool [R]."""
        cells = np.zeros(self.shape, bool)
        side = self.mask.shape[1]
        for row, column in self.first_cells[chosen].tolist():
            cells[row : row + side, column : column + side] = True
        return cells

    def edges(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Level-0 px of the cells' borders, clipped to the slide: x [columns + 1] and y [rows + 1]."""
        found = []
        for start, n, size in zip(self.origin, self.shape[::-1], self.level0_size, strict=True):
            found.append(np.clip(start + np.arange(n + 1) * self.pitch, 0, size))
        return found[0], found[1]

    def within(self) -> NDArray[np.bool_]:
        """The cell lies on the slide, at least in part, bool [rows, columns]."""
        x, y = self.edges()
        return np.outer(np.diff(y) > 0, np.diff(x) > 0)
