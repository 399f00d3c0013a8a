"""Small real slides for tests: stained blocks on white glass, written as pyramidal TIFFs; how they are read."""

import json
from pathlib import Path

import numpy as np
from pyramids import overwrite, tile_places, write_pyramid
from torch import nn

MPP = 2.0
PATCH = 16  # px; a region of 4 x 4 such patches is 64 px
READ = {"mpp": MPP, "patch_size": PATCH, "region_patches": 4, "min_tissue_patches": 2}


class MeanColors(nn.Module):
    """A patch encoder that can be checked by eye: the mean color of each quarter of a patch, D = 12."""

    name, sha256 = "mean colors", "00"
    mean, std = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)

    def forward(self, image):
        return nn.functional.adaptive_avg_pool2d(image.float() / 255, 2).flatten(1)


def draw_tissue(size=320, seed=0):
    """RGB uint8 [size, size, 3]: two stained rectangles with texture."""
    random = np.random.default_rng(seed)
    picture = np.full((size, size, 3), 242, np.int64)
    for top, left, height, width in (
        (size // 8, size // 6, size // 2, size // 3),
        (size // 2, size // 2, size // 3, size // 3),
    ):
        color = np.array([190, 110, 170]) + random.integers(-25, 25, 3)
        picture[top : top + height, left : left + width] = color + random.integers(-30, 30, (height, width, 3))
    return picture.clip(0, 255).astype(np.uint8)


def write_slide(path: Path, size=320, seed=0, mpp: float | None = MPP) -> Path:
    """A tiled TIFF of two levels; ``mpp`` None leaves the resolution out."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_pyramid(path, draw_tissue(size, seed), mpp, factors=(1, 2), tile=(64, 64))


def draw_square(path: Path, start: int, size: int) -> Path:
    """A square region of interest as GeoJSON: from ``start`` to ``start + size`` px in x and in y."""
    end = start + size
    square = [[start, start], [end, start], [end, end], [start, end], [start, start]]
    path.write_text(json.dumps({"type": "Polygon", "coordinates": [square]}))
    return path


def damage_tiles(path: Path, share=0.5) -> Path:
    """Overwrite the last part of level 0's tiles, so that the slide opens and its decoding fails later."""
    places = tile_places(path)
    for offset, n_bytes in places[int(len(places) * (1 - share)) :]:
        overwrite(path, offset, bytes(n_bytes))
    return path
