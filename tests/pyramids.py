"""Pyramidal TIFFs of any picture, for tests."""

from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

READERS = ("cucim", "openslide", "tifffile")


def write_pyramid(
    path: Path,
    picture: np.ndarray,
    mpp: float | None = 0.5,
    *,
    factors=(1, 2, 4),
    tile=(256, 256),
    compression: str | None = "jpeg",
    level=95,
    description: str | None = None,
    **options,
) -> Path:
    """Levels reduced by area; ``mpp`` goes into the resolution tags, ``description`` into the first page."""
    jpeg = {"compressionargs": {"level": level}} if compression == "jpeg" else {}
    tags = {} if mpp is None else {"resolution": (1e4 / mpp, 1e4 / mpp), "resolutionunit": "CENTIMETER"}
    with tifffile.TiffWriter(path) as file:
        for index, factor in enumerate(factors):
            first = {"description": description, **tags, **options} if index == 0 else {}
            file.write(
                reduced(picture, factor),
                tile=tile,
                photometric="rgb",
                compression=compression,
                subfiletype=int(index > 0),
                metadata=None,
                **jpeg,
                **first,
            )
    return path


def reduced(picture: np.ndarray, factor: int) -> np.ndarray:
    """Every ``factor`` x ``factor`` px averaged."""
    return picture if factor == 1 else np.asarray(Image.fromarray(picture).reduce(factor))


def ramps(width: int, height: int, x_step=1.0, y_step=1.0) -> np.ndarray:
    """RGB [height, width, 3] that tells where it is: red rises by ``x_step`` a px in x, green in y, with dithering.

    The mean over a column of red / step is the x of the column's middle, to a fraction of a px.
    """
    random = np.random.default_rng(0)
    x, y = np.meshgrid((np.arange(width) + 0.5) * x_step, (np.arange(height) + 0.5) * y_step)
    planes = np.stack([x, y, np.full_like(x, 128)], -1)
    return np.floor(planes + random.random(planes.shape)).clip(0, 255).astype(np.uint8)


def tile_places(path: Path, page=0) -> list[tuple[int, int]]:
    """(offset, bytes) of the tiles of one page."""
    with tifffile.TiffFile(path) as file:
        return list(zip(file.pages[page].dataoffsets, file.pages[page].databytecounts, strict=True))


def overwrite(path: Path, offset: int, data: bytes) -> Path:
    """Change bytes of a file in place."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)
    return path
