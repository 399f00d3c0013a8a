"""Pictures made smaller (or, at need, larger) without aliasing and without a shift."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def whole_factor(factor: float) -> int:
    """``factor`` as a whole number above 1 if it is one to a millionth, else 0."""
    whole = round(factor)
    return whole if whole > 1 and abs(factor / whole - 1) < 1e-6 else 0


def reduced(picture: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """The mean of every ``factor`` x ``factor`` px, rounded once: uint8 [h * factor, w * factor, 3] -> [h, w, 3]."""
    return np.asarray(Image.fromarray(np.ascontiguousarray(picture)).reduce(factor))


def resampled(
    picture: NDArray[np.uint8], size: tuple[int, int], box: tuple[float, float, float, float]
) -> NDArray[np.uint8]:
    """A part of a picture at another size; the filter widens with the reduction and may look beyond the part.

    Args:
        picture: uint8 [h, w, 3].
        size: (width, height) wanted.
        box: left, top, right, bottom in px, fractions allowed.
    """
    is_smaller = box[2] - box[0] > size[0]
    kind = Image.Resampling.HAMMING if is_smaller else Image.Resampling.BILINEAR
    image = Image.fromarray(np.ascontiguousarray(picture))
    return np.asarray(image.resize(size, kind, box=box, reducing_gap=3.0))
