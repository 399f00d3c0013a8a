"""Writes a picture as a pyramidal, tiled JPEG TIFF that cuCIM, OpenSlide and tifffile read, resolution included."""

from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from ..core import Replacement

TILE_PX = 256
SMALLEST_LEVEL_PX = 128


def write_pyramid(path: Path, picture: NDArray[np.uint8], mpp: float, *, jpeg_quality: int) -> None:
    """Writes `picture` and its halvings, each half the width of the one before, to one file.

    Args:
        path: of the file; it appears under this name only when it is complete.
        picture: [height, width, 3].
        mpp: um per px of `picture`; stored as pixels per centimeter, and in words in the description.
        jpeg_quality: 1 to 100.
    """
    with Replacement(path) as part, tifffile.TiffWriter(part) as file:
        downsample = 1
        while downsample == 1 or min(picture.shape[:2]) >= SMALLEST_LEVEL_PX:
            per_cm = 1e4 / (mpp * downsample)
            file.write(
                picture,
                tile=(TILE_PX, TILE_PX),
                photometric="rgb",
                compression="jpeg",
                compressionargs={"level": jpeg_quality},
                subfiletype=0 if downsample == 1 else 1,
                resolution=(per_cm, per_cm),
                resolutionunit="CENTIMETER",
                description=f"synthetic demo slide|MPP = {mpp * downsample:g}" if downsample == 1 else None,
                software="pathology-slpd",
                metadata=None,
                maxworkers=1,
            )
            picture, downsample = _halved(picture), 2 * downsample


def _halved(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Means of 2 x 2 pixels; an odd last row or column is left out."""
    height, width = picture.shape[0] // 2 * 2, picture.shape[1] // 2 * 2
    return np.asarray(Image.fromarray(picture[:height, :width]).reduce(2))
