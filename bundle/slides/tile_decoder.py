"""JPEG and JPEG 2000 tiles to RGB, straight into memory that is there already."""

from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

JPEG, JPEG2000 = 7, (33003, 33005)
_RGB, _YCBCR = 2, 6  # TIFF's PhotometricInterpretation


class TileDecoder:
    """Decodes the tiles of one level with libjpeg-turbo or OpenJPEG. Threads may share it; it lets go of Python's lock.

    Args:
        page: a tiled level of a TIFF; see :meth:`fits`.
    """

    name = "imagecodecs"

    def __init__(self, page: Any) -> None:
        self._is_jpeg = page.compression == JPEG
        self._tables = page.jpegtables
        # Aperio's tiles hold RGB and do not say so: without a JFIF marker it is the TIFF that tells
        self._colorspace = _RGB if page.photometric == _RGB and not page.is_jfif else None

    @staticmethod
    def fits(page: Any) -> bool:
        """Whether the tiles of a level are of a kind that this class may know to turn into RGB."""
        is_color = page.photometric in (_RGB, _YCBCR) and page.samplesperpixel == 3 and page.bitspersample == 8
        is_known = page.compression in (JPEG, *JPEG2000) and not page.jpegheader
        return bool(page.is_tiled and page.planarconfig == 1 and is_color and is_known)

    def decode(self, data: bytes, out: NDArray[np.uint8]) -> None:
        """Fill ``out`` uint8 [h, w, 3], contiguous, of the tile's size.

        Raises:
            RuntimeError, ValueError: it does not decode.
        """
        if self._is_jpeg:
            how = {"tables": self._tables, "colorspace": self._colorspace, "outcolorspace": _RGB}
            imagecodecs.jpeg8_decode(data, out=out, **how)
        else:
            imagecodecs.jpeg2k_decode(data, numthreads=1, out=out)
