"""Pictures made smaller (or, at need, larger) without aliasing and without a shift."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_POWERS = {2: 2, 4: 4, 8: 6, 16: 8}  # factor: bits of its square; their sums fit into 16 bits
_STRIP = 256  # rows of the result at a time, so that sums stay in the processor's cache


def whole_factor(factor: float) -> int:
    """``factor`` as a whole number above 1 if it is one to a millionth, else 0."""
    whole = round(factor)
    return whole if whole > 1 and abs(factor / whole - 1) < 1e-6 else 0


def downsample(finest: tuple[int, int], size: tuple[int, int]) -> float:
    """Px of the finest level along one of a level's; a whole number where its size is a rounded whole share.

    Args:
        finest, size: (width, height) in px of the two.
    """
    ratio = finest[0] / size[0] if size[0] > size[1] else finest[1] / size[1]
    whole = round(ratio)
    spare = max(abs(finest[0] - whole * size[0]), abs(finest[1] - whole * size[1]))
    return float(whole) if spare < whole else ratio


def reduced(picture: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """The mean of every ``factor`` x ``factor`` px, rounded once: uint8 [h * factor, w * factor, 3] -> [h, w, 3]."""
    if factor not in _POWERS:
        return np.asarray(Image.fromarray(np.ascontiguousarray(picture)).reduce(factor))
    height, width = picture.shape[0] // factor, picture.shape[1] // factor
    out = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, _STRIP):
        strip = np.ascontiguousarray(picture[top * factor : (top + _STRIP) * factor])
        _mean(strip.reshape(-1, factor, width, factor, 3), _POWERS[factor], out[top : top + _STRIP])
    return out


def _mean(px: NDArray[np.uint8], bits: int, out: NDArray[np.uint8]) -> None:
    """Mean over axes 1 and 3 of [h, 2**n, w, 2**n, 3], bits = 2 n: the same as Pillow's, in half of its time."""
    rows = px.reshape(*px.shape[:2], -1)
    down = rows[:, 0].astype(np.uint16)
    for i in range(1, px.shape[1]):
        down += rows[:, i]
    down = down.reshape(len(px), *px.shape[2:])
    for color in range(3):  # NumPy would take the three colors for its innermost loop
        across = down[:, :, 0, color] + (1 << bits >> 1)
        for i in range(1, px.shape[3]):
            across += down[:, :, i, color]
        out[..., color] = across >> bits


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
