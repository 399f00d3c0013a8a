"""A token store to wear out: ``python -m scripts.fault_trials.reads make FOLDER SLIDES REGIONS``, ``read FOLDER N``."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from bundle.storage import TokenDataset

from ..pins.token_files import write_tokens


def make(folder: Path, n_slides: int, n_regions: int) -> None:
    """Write token files of random values, D = 8, 4 kB a region."""
    for slide in range(n_slides):
        write_tokens(folder / f"slide_{slide:04d}.h5", n_regions, 8, slide)


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
