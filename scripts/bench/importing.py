"""The import of a slide beside h5py's arrays written to the same token file by the plainest code."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
import numpy as np

from bundle.core import quietly
from bundle.pipelines import FeatureImporter
from bundle.storage import TokenFileWriter

from ..pins.foreign_features import MPP, PITCH, random_slide
from .measure import Case, Variant

_SIDE = 16  # patches on a region's side
_SHARE = 0.6  # of the cells hold tissue


class Features:
    """A slide of random features in TRIDENT's layout, made when first needed, and two ways to its token file.

    Args:
        regions: along x and y.
        dim: D.
    """

    def __init__(self, regions: tuple[int, int] = (12, 11), dim: int = 1024) -> None:
        self.regions, self.dim = regions, dim

    @cached_property
    def folder(self) -> TemporaryDirectory[str]:
        """The features, and what is made of them; all of it goes when this object does."""
        folder = TemporaryDirectory()
        columns, rows = (_SIDE * n for n in self.regions)
        random_slide(Path(folder.name) / "features" / "slide.h5", columns, rows, _SHARE, self.dim)
        return folder

    @cached_property
    def n_patches(self) -> int:
        """Patches of the slide."""
        with h5py.File(self.path("features")) as file:
            return len(file["coords"])

    def path(self, folder: str) -> Path:
        """The slide's file in one of the folders."""
        return Path(self.folder.name) / folder / "slide.h5"

    def import_it(self) -> None:
        """By the importer, as ``configs/import.yaml`` has it."""
        source, tokens, table = (self.path(name).parent for name in ("features", "tokens", "table"))
        with quietly():
            FeatureImporter(source, tokens, table, default_mpp=MPP, overwrite=True).run()

    def copy_plainly(self) -> None:
        """All at once, for features of which it is known that nothing is wrong with them."""
        with h5py.File(self.path("features")) as file:
            features, xy = file["features"][:], file["coords"][:]
        corners, region = np.unique(xy[:, ::-1] // (_SIDE * PITCH), axis=0, return_inverse=True)
        column, row = (xy // PITCH % _SIDE).T
        grids = np.zeros((len(corners), _SIDE, _SIDE, self.dim), np.float16)
        mask = np.zeros(grids.shape[:3], bool)
        grids[region.ravel(), row, column] = features
        mask[region.ravel(), row, column] = True
        coords = corners[:, ::-1] * _SIDE * PITCH
        attributes = {"slide_id": "slide", "encoder": "random", "mpp": 0.5}
        with TokenFileWriter(
            self.path("plain"), region_patches=_SIDE, dim=self.dim, coords=coords, mask=mask, attributes=attributes
        ) as writer:
            for i, grid in enumerate(grids):
                writer.write(i, grid)


def cases(device: str, threads: int) -> list[Case]:
    """A slide of some 20,000 patches, D = 1,024."""
    return importing_cases(Features())


def importing_cases(features: Features) -> list[Case]:
    """The case for a slide."""
    title = f"import of {features.n_patches:,} patches, D = {features.dim:,}, TRIDENT's layout"
    ways = [
        Variant("h5py's arrays, written plainly", "reference", features.copy_plainly),
        Variant("ours", "ours", features.import_it),
    ]
    note = "TRIDENT stores a chunk a row. Both flush the token file to disk; ours looks at the folder first, too."
    return [Case("importing", title, ways, features.n_patches, "patches", {"ours": 0.5}, note)]
