"""A token store to wear out: ``python -m scripts.fault_trials.reads make FOLDER SLIDES REGIONS``, ``read FOLDER N``."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from bundle.storage import TokenDataset, TokenFileWriter

_DIM = 8


def make(folder: Path, n_slides: int, n_regions: int) -> None:
    """Write token files of random values, D = 8, 4 kB a region."""
    folder.mkdir(parents=True)
    mask = np.ones((n_regions, 16, 16), bool)
    coords = np.stack([np.arange(n_regions) * 4096, np.zeros(n_regions, int)], 1)
    for slide in range(n_slides):
        random, name = np.random.default_rng(slide), f"slide_{slide:04d}"
        width = 4096 * n_regions
        attributes = {"slide_id": name, "encoder": "random", "mpp": 0.5, "level0_mpp": 0.5}
        attributes |= {"slide_path": f"{name}.tif", "region_size_px": 4096, "region_size_level0": 4096}
        attributes |= {"patch_size_px": 256, "level0_width": width, "level0_height": 4096, "reader": "none"}
        path = folder / f"{name}.h5"
        with TokenFileWriter(
            path, region_patches=16, dim=_DIM, coords=coords, mask=mask, attributes=attributes
        ) as file:
            for region in range(n_regions):
                file.write(region, random.standard_normal((16, 16, _DIM)))


def read(folder: Path, n_reads: int) -> None:
    """Read regions at random, each from its file and compared with its checksum."""
    data, random = TokenDataset(folder, cache="none", verify="always"), np.random.default_rng(0)
    for _ in range(0, n_reads, 1000):
        for region in random.integers(0, len(data), min(1000, n_reads)).tolist():
            data[region]


if __name__ == "__main__":
    task, place, *counts = sys.argv[1:]
    if task == "make":
        make(Path(place), *map(int, counts))
    else:
        read(Path(place), *map(int, counts))
