"""Where tissue is, on a thumbnail."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_GLASS_FLOOR, _GLASS_SPREAD = 180, 24  # glass is brighter, and its channels differ less
_NO_GLASS = np.full(3, 245, np.float32)
_THRESHOLDS = (0.025, 0.07)  # of stain, in optical density; Otsu's threshold is kept between them
_MIN_OBJECT_UM2 = 100.0**2
_MAX_HOLE_UM2 = 100.0**2
_SMOOTHING_UM = 16.0


def tissue_mask(rgb: NDArray[np.uint8], mpp: float) -> NDArray[np.bool_]:
    """Tissue is what colors light: optical density that differs between the channels, over the glass of this slide.

    Dust, shadows, black borders and black pen take light from all channels alike and fall out. Pale tissue stays,
    because glass is measured on the slide itself and the threshold (Otsu's) is bounded. Blue, green, red and yellow ink
    are told from stains by the ratios of their densities. Specks are dropped and small holes filled. docs/tissue.md has
    numbers.

    Args:
        rgb: thumbnail, uint8 [h, w, 3].
        mpp: its um/px.

    Returns:
        bool [h, w].
    """
    glass = _glass_color(rgb)
    has_glass = glass is not None
    white = _NO_GLASS if glass is None else glass
    density = -np.log10((np.minimum(rgb, white) + 1) / (white + 1))
    excluded = ndimage.binary_opening(_is_ink(density)) | _is_black(rgb)
    sigma = _SMOOTHING_UM / mpp / 2
    density = ndimage.gaussian_filter(density, (sigma, sigma, 0))
    stain = density.max(2) - density.min(2)
    threshold = _threshold(stain[~excluded]) if has_glass else _THRESHOLDS[0]
    return _without_specks((stain > threshold) & ~ndimage.binary_dilation(excluded), mpp)


def _glass_color(rgb: NDArray[np.uint8]) -> NDArray[np.float32] | None:
    """The commonest value of each channel among bright, nearly gray pixels; None where the slide shows no glass."""
    bright = rgb[(rgb.min(2) >= _GLASS_FLOOR) & (np.ptp(rgb, axis=2) <= _GLASS_SPREAD)]
    if len(bright) < 0.005 * rgb.shape[0] * rgb.shape[1]:
        return None
    counts = [ndimage.gaussian_filter1d(np.bincount(bright[:, c], minlength=256).astype(float), 2) for c in range(3)]
    return np.array([count.argmax() for count in counts], np.float32)


def _is_ink(density: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Inks let one end of the spectrum through; stains do not.

    In hematoxylin green is at least 0.7 of red and blue 0.3 of red, counterstains of IHC included; in eosin blue is
    less than half of green; blood and DAB take more than a tenth of their strongest channel from red.
    """
    red, green, blue = density[..., 0], density[..., 1], density[..., 2]
    blue_or_green = (red > 0.15) & (green < 0.72 * red) & ((blue < 0.3 * red) | (green < 0.6 * red))
    violet = (red > 0.25) & (green < 0.92 * red) & (blue < 0.28 * red)
    strongest = np.maximum(green, blue)
    red_or_yellow = (strongest > 0.25) & (red < 0.1 * strongest) & (blue > 0.5 * green)
    return blue_or_green | violet | red_or_yellow


def _is_black(rgb: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return (rgb.max(2) < 75) & (np.ptp(rgb, axis=2) < 25)


def _threshold(stain: NDArray[np.float32]) -> float:
    """Otsu's, within bounds: on a slide that is all tissue or all glass it alone would cut in the middle of either."""
    if stain.size == 0:
        return _THRESHOLDS[1]
    counts, edges = np.histogram(stain, bins=256, range=(0.0, 0.4))
    middles = (edges[:-1] + edges[1:]) / 2
    below = counts.cumsum()
    above = below[-1] - below
    sums = (counts * middles).cumsum()
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = sums / below - (sums[-1] - sums) / above
    variance = np.nan_to_num(below * above * gap**2)
    return float(np.clip(middles[variance.argmax()], *_THRESHOLDS))


def _without_specks(mask: NDArray[np.bool_], mpp: float) -> NDArray[np.bool_]:
    mask = _drop_small(ndimage.binary_opening(mask) | _drop_small(mask, 16), _MIN_OBJECT_UM2 / mpp**2)
    return ~_drop_small(~mask, _MAX_HOLE_UM2 / mpp**2)


def _drop_small(mask: NDArray[np.bool_], min_px: float) -> NDArray[np.bool_]:
    labels, n = ndimage.label(mask)
    if n == 0:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return (sizes >= max(min_px, 2))[labels]
