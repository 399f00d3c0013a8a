"""Slides colored by prototype."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from ...pages import NO_PROTOTYPE, prototype_colors
from ...prototypes import PrototypeBank
from ...storage import TokenDataset
from .map_request import Thumbnail

_PAPER = 245


def draw_prototypes(
    coords: np.ndarray, region_size: float, assignment: np.ndarray, background: np.ndarray, downsample: float
) -> np.ndarray:
    """Tint every region of a slide in its prototype's color.

    Args:
        coords: level-0 px (x, y) of the regions' top-left corners, int [R, 2].
        region_size: side of a region in level-0 px.
        assignment: prototype of each region, int [R]; -1 (gray) for none.
        background: RGB of the slide, uint8 [H, W, 3].
        downsample: level-0 px a background px.

    Returns:
        RGB, uint8 [H, W, 3].
    """
    picture = background.astype(np.float32)
    colors = prototype_colors(max(int(assignment.max(initial=-1)) + 1, 1))
    for corner, prototype in zip(coords, assignment, strict=True):
        color = np.asarray(colors[prototype] if prototype >= 0 else NO_PROTOTYPE, np.float32)
        (left, top), (right, bottom) = corner / downsample, (corner + region_size) / downsample
        window = picture[max(round(top), 0) : max(round(bottom), 0), max(round(left), 0) : max(round(right), 0)]
        inside = window[1:-1, 1:-1].copy()
        window[:] = color
        window[1:-1, 1:-1] = 0.68 * inside + 0.32 * color
    return picture.astype(np.uint8)


class PrototypePictures:
    """Pictures of slides colored by prototype, over their thumbnails where these can be had.

    Args:
        prototypes: a bank with ``is_fitted`` and ``assignment`` [N].
        dataset: the tokens of its N regions.
        thumbnail: slide id -> (RGB uint8 [H, W, 3], its um/px), or None where there is no such slide file.
        slide_labels: captions, one a slide, or None.
        n_slides: how many slides are drawn.
    """

    def __init__(
        self,
        prototypes: PrototypeBank,
        dataset: TokenDataset,
        thumbnail: Callable[[str], Thumbnail | None] | None = None,
        slide_labels: Sequence[str | None] | None = None,
        n_slides: int = 8,
    ) -> None:
        self.prototypes, self.thumbnail, self.captions = prototypes, thumbnail, slide_labels
        self.slide_ids, self.attributes = list(dataset.slide_ids), [header.attributes for header in dataset.headers]
        self.slide_index, self.coords = dataset.slide_index.numpy(), dataset.coords.numpy()
        self.n_slides = min(int(n_slides), len(self.slide_ids))

    def __call__(self) -> dict[str, np.ndarray]:
        """Name -> RGB picture; empty before the first clustering."""
        if not self.prototypes.is_fitted:
            return {}
        return {f"prototypes/{self.slide_ids[slide]}": self._draw(slide) for slide in self._chosen()}

    def save(self, path: str | Path) -> None:
        """Write all pictures to one PNG; nothing before the first clustering."""
        pictures = self()
        if not pictures:
            return
        columns = min(4, len(pictures))
        rows = -(-len(pictures) // columns)
        figure = Figure(figsize=(3.2 * columns, 3.4 * rows), layout="constrained")
        panels = list(figure.subplots(rows, columns, squeeze=False).flat)
        for axes in panels:
            axes.set_axis_off()
        for axes, slide, picture in zip(panels, self._chosen(), pictures.values(), strict=False):
            caption = self.captions[slide] if self.captions else None
            axes.imshow(picture)
            axes.set_title(self.slide_ids[slide] + (f"\n{caption}" if caption else ""), fontsize=8)
        figure.suptitle(
            "Regions by the prototype of their own slide (colors do not compare between slides)", fontsize=10
        )
        figure.savefig(path, dpi=110)

    def _assignment(self) -> np.ndarray:
        return torch.as_tensor(self.prototypes.assignment).cpu().numpy()

    def _chosen(self) -> list[int]:
        """The first slides that have prototypes, then those that have none."""
        clustered = set(self.slide_index[self._assignment() >= 0].tolist())
        return sorted(range(len(self.slide_ids)), key=lambda slide: slide not in clustered)[: self.n_slides]

    def _draw(self, slide: int) -> np.ndarray:
        rows = self.slide_index == slide
        coords, size = self.coords[rows], float(self.attributes[slide].get("region_size_level0", 4096))
        found = self.thumbnail(self.slide_ids[slide]) if self.thumbnail is not None else None
        if found is None:
            downsample = size / 32
            width, height = np.ceil((coords.max(0) + size) / downsample).astype(int)
            background = np.full((height, width, 3), _PAPER, np.uint8)
        else:
            background, downsample = found[0], found[1] / self.attributes[slide].get("level0_mpp", 0.5)
        assignment = self._assignment()[rows]
        return draw_prototypes(coords, size, assignment, background, downsample)
