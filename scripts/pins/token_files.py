"""Token files of random tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bundle.storage import TokenFileWriter

_SIDE = 16


def token_attributes(name: str, n_regions: int) -> dict[str, Any]:
    """What the file of a slide of regions of 4,096 px in a row says, at 0.5 um/px."""
    found: dict[str, Any] = {"slide_id": name, "slide_path": f"{name}.tif", "encoder": "random", "reader": "none"}
    found |= {"mpp": 0.5, "level0_mpp": 0.5, "level0_width": 4096 * n_regions, "level0_height": 4096}
    return found | {"patch_size_px": 256, "region_size_px": 4096, "region_size_level0": 4096}


def write_tokens(path: Path, n_regions: int, dim: int, seed: int = 0, **about: Any) -> None:
    """Write a slide of regions in a row, each of 16 x 16 tokens without a gap; ``about`` is what else its file says."""
    random, mask = np.random.default_rng(seed), np.ones((n_regions, _SIDE, _SIDE), bool)
    coords = np.stack([np.arange(n_regions) * 4096, np.zeros(n_regions, int)], 1)
    attributes = token_attributes(path.stem, n_regions) | about
    with TokenFileWriter(path, region_patches=_SIDE, dim=dim, coords=coords, mask=mask, attributes=attributes) as file:
        for region in range(n_regions):
            file.write(region, random.standard_normal((_SIDE, _SIDE, dim), np.float32))
