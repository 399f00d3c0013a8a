"""Where tissue is, on a thumbnail."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_GLASS_FLOOR = 200  # darker than this no glass is
_THRESHOLDS = (0.025, 0.07)  # of stain, in optical density; Otsu's threshold is kept between them
_MIN_OBJECT_UM2 = 100.0**2
_MAX_HOLE_UM2 = 100.0**2
_SMOOTHING_UM = 16.0


def tissue_mask(rgb: NDArray[np.uint8], mpp: float) -> NDArray[np.bool_]:
    """Tissue is what colors light: optical density that differs between the channels, over the glass of this slide.

    Dust, shadows, black borders and black pen take light from all channels alike and fall out; pale tissue stays, because
    glass is measured on the slide itself and the threshold (Otsu's) is bounded; blue, green and red ink are told from
    stains by hue: hematoxylin, eosin and DAB never let more green than red through, and never all of the red and none
    of the rest. Specks are dropped and small holes filled.

    Args:
        rgb: thumbnail, uint8 [h, w, 3].
        mpp: its um/px.

    Returns:
        bool [h, w].
    """
    light = rgb.astype(np.float32)
    glass = _glass_color(rgb)
    density = -np.log10(np.minimum(light + 1, glass + 1) / (glass + 1))
    density = ndimage.gaussian_filter(density, (_SMOOTHING_UM / mpp / 2, _SMOOTHING_UM / mpp / 2, 0))
    stain = density.max(2) - density.min(2)
    excluded = _is_ink(light) | _is_black(light)
    mask = (stain > _threshold(stain[~excluded])) & ~ndimage.binary_dilation(excluded, iterations=1)
    return _without_specks(mask, mpp)


def _glass_color(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The commonest bright value of each channel; white where the slide shows no glass."""
    bright = rgb[rgb.min(2) >= _GLASS_FLOOR]
    if len(bright) < 0.005 * rgb.shape[0] * rgb.shape[1]:
        return np.full(3, 245, np.float32)
    counts = [ndimage.gaussian_filter1d(np.bincount(bright[:, c], minlength=256).astype(float), 2) for c in range(3)]
    return np.array([count.argmax() for count in counts], np.float32)


def _is_ink(light: NDArray[np.float32]) -> NDArray[np.bool_]:
    red, green, blue = light[..., 0], light[..., 1], light[..., 2]
    spread = light.max(2) - light.min(2)
    green_or_blue = (green > red + 18) & (spread > 35)
    red_ink = (red > 140) & (green < 0.5 * red) & (blue < 0.5 * red) & (np.abs(green - blue) < 35) & (spread > 110)
    return green_or_blue | red_ink


def _is_black(light: NDArray[np.float32]) -> NDArray[np.bool_]:
    return (light.max(2) < 75) & (light.max(2) - light.min(2) < 25)


def _threshold(stain: NDArray[np.float32]) -> float:
    """Otsu's, within bounds: on a slide that is all tissue, or all glass, it alone would cut in the middle of either."""
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
