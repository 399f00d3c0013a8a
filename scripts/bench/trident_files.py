"""Files of features as TRIDENT lays them out: an HDF5 file a slide, a chunk a row, geometry on the coordinates."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

PITCH = 512  # level-0 px: 256 px at 0.5 um/px on a slide of 0.25
LEVEL0_MPP = 0.25


class Cut(NamedTuple):
    """How a slide was cut: a patch's side in px and in level-0 px, the slide's size in level-0 px."""

    patch_px: int
    patch_level0: float
    width: int
    height: int


def write_trident(path: Path, xy: NDArray[np.int64], features: NDArray[Any], cut: Cut, encoder: str) -> None:
    """Write one slide.

    Args:
        path: ``<slide_id>.h5``; its folder is made.
        xy: corners of the patches [N, 2], level-0 px.
        features: [N, D].
        cut: how the patches were cut; they lie edge to edge.
        encoder: its name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        data = file.create_dataset("features", data=features, chunks=(1, features.shape[1]))
        data.attrs.update({"encoder": encoder, "name": path.stem})
        coords = file.create_dataset("coords", data=xy)
        sizes = {"patch_size": cut.patch_px, "patch_size_level0": cut.patch_level0, "overlap": 0}
        coords.attrs.update({**sizes, "name": path.stem, "level0_width": cut.width, "level0_height": cut.height})


def random_slide(path: Path, columns: int, rows: int, share: float, dim: int, seed: int = 0) -> None:
    """A slide of random features on a lattice of 512 level-0 px, of which a share is tissue."""
    random = np.random.default_rng(seed)
    cells = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), -1).reshape(-1, 2)
    xy = cells[random.random(len(cells)) < share] * PITCH
    features = random.standard_normal((len(xy), dim), np.float32)
    write_trident(path, xy, features, Cut(256, PITCH, columns * PITCH, rows * PITCH), "random")
