"""Where tissue is, on a thumbnail."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

TISSUE_RULE = 2  # counts changes of what is tissue; token files record it, those without it are of rule 1
_GLASS_FLOOR, _GLASS_SPREAD = 180, 24  # glass is brighter, and its channels differ less
_BLACK = 75  # black pen and borders are darker
_NO_GLASS = np.full(3, 245, np.float32)
_THRESHOLDS = (0.025, 0.07)  # of stain, in optical density; Otsu's threshold is kept between them
_SMOOTHING_UM = 16.0
_TEXTURE_UM, _LEAST_TEXTURE, _LEAST_DENSITY = 12.0, 0.012, 0.015  # a width; optical densities
_GAP_UM = 32.0  # clefts and fat cells of twice this width close
_LEAST_STAINED = 0.1  # share of an object that is stained
_MIN_OBJECT_UM2 = 100.0**2
_MAX_HOLE_UM2 = 100.0**2
_FAT_WINDOW_UM, _FAT_CLEAR_SHARE, _CLEAR_DENSITY, _MIN_FAT_UM2 = 280.0, 0.35, 0.02, 300.0**2
_ENCLOSED, _BESIDE, _WITHIN, _MAX_PIGMENT_UM2 = 0.5, 0.2, 0.9, 0.5e6  # shares of a rim that is tissue; an area
_DYE_SHARE, _DYE_ALONE, _PEN_UM = 0.1, 0.9, 1000.0


def tissue_mask(rgb: NDArray[np.uint8], mpp: float, *, keep_fat: bool = True) -> NDArray[np.bool_]:
    """Tissue is what stains color, with the pale, textured parts that hang together with it.

    Stained is optical density that differs between the channels, over the glass of this slide. Pale parts (weak
    counterstains, fat, serosa) have little color but texture, which glass, shadows and dust out of focus have not; they
    count where a tenth of the object is stained. Pen and black borders fall out, by color and by shape; specks are
    dropped, small holes filled. docs/tissue.md has the rules in order, and numbers.

    Args:
        rgb: thumbnail, uint8 [h, w, 3].
        mpp: its um/px.
        keep_fat: False leaves out fat: textured areas of which more than a third is as clear as glass.

    Returns:
        bool [h, w].
    """
    channels = np.ascontiguousarray(rgb.transpose(2, 0, 1))
    brightest, darkest = _extremes(channels)
    spread = brightest - darkest
    glass = _glass_color(channels, (darkest >= _GLASS_FLOOR) & (spread <= _GLASS_SPREAD))
    density = _densities(channels, _NO_GLASS if glass is None else glass)
    gray = density.mean(0)
    ink = _opened(_is_ink(*density))
    black = (brightest < _BLACK) & (spread <= _GLASS_SPREAD)
    sigma = _SMOOTHING_UM / mpp / 2
    smoothed = [ndimage.gaussian_filter(channel, sigma) for channel in density]
    most, least = _extremes(smoothed)
    stain = most - least
    threshold = _THRESHOLDS[0] if glass is None else _threshold(stain[~(ink | black)])
    stained = stain > threshold
    found = stained | (_is_textured(gray, mpp) & (sum(smoothed) > 3 * _LEAST_DENSITY))
    pen = _pen(ink, black, found, round(3 * sigma) + 2, mpp)
    excluded = _grown(pen)
    found = (found | ink | black) & ~excluded
    found = _opened(found) | _drop_small(found, 16)
    found = _objects(_closed(found, round(_GAP_UM / mpp)) & ~excluded, stained & ~excluded, mpp)
    if not keep_fat:
        found = _drop_small(found & ~_fat(gray, found, mpp), _MIN_OBJECT_UM2 / mpp**2)
    return found


def _extremes(channels: Sequence[NDArray[Any]] | NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The largest and the smallest of three channels, [h, w] each."""
    red, green, blue = channels
    return np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)


def _glass_color(channels: NDArray[np.uint8], is_bright: NDArray[np.bool_]) -> NDArray[np.float32] | None:
    """The commonest value of each channel among bright, nearly gray pixels; None where the slide shows no glass."""
    if np.count_nonzero(is_bright) < 0.005 * is_bright.size:
        return None
    counts = [np.bincount(channel[is_bright], minlength=256).astype(float) for channel in channels]
    return np.array([ndimage.gaussian_filter1d(count, 2).argmax() for count in counts], np.float32)


def _densities(channels: NDArray[np.uint8], glass: NDArray[np.float32]) -> NDArray[np.float32]:
    """Optical density over the glass, [3, h, w], none below 0."""
    values = np.minimum(np.arange(256, dtype=np.float32), glass[:, None])
    tables = -np.log10((values + 1) / (glass[:, None] + 1))
    return np.stack([table.take(channel) for table, channel in zip(tables, channels, strict=True)])


def _is_textured(gray: NDArray[np.float32], mpp: float) -> NDArray[np.bool_]:
    """Density varies within some 12 um, more than a hundredth and three times as much as on this slide's glass."""
    sigma = max(_TEXTURE_UM / mpp, 1.0)
    mean = ndimage.gaussian_filter(gray, sigma)
    texture = np.sqrt(np.maximum(ndimage.gaussian_filter(gray * gray, sigma) - mean * mean, 0))
    clear = texture[mean < _LEAST_DENSITY]
    noise = float(np.median(clear)) if clear.size else 0.0
    return texture > max(_LEAST_TEXTURE, 3 * noise)


def _is_ink(red: NDArray[np.float32], green: NDArray[np.float32], blue: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Inks let one end of the spectrum through; the stains of H&E and IHC do not.

    In hematoxylin green is at least 0.7 of red and blue 0.3 of red, counterstains of IHC included; in eosin blue is
    less than half of green; blood and DAB take more than a tenth of their strongest channel from red. Dyes of special
    stains (aniline blue, Alcian blue, light green) look like ink: their shape tells them, see :func:`_pen`.
    """
    blue_or_green = (red > 0.15) & (green < 0.72 * red) & ((blue < 0.3 * red) | (green < 0.6 * red))
    violet = (red > 0.25) & (green < 0.92 * red) & (blue < 0.28 * red)
    strongest = np.maximum(green, blue)
    red_or_yellow = (strongest > 0.25) & (red < 0.1 * strongest) & (blue > 0.5 * green)
    return blue_or_green | violet | red_or_yellow


class _Spots(NamedTuple):
    """Connected parts: labels [h, w], 0 none; of each, its pixels, and the share of its rim that is tissue."""

    labels: NDArray[np.int32]
    size: NDArray[np.int64]
    enclosed: NDArray[np.float64]


def _pen(
    ink: NDArray[np.bool_], black: NDArray[np.bool_], found: NDArray[np.bool_], halo: int, mpp: float
) -> NDArray[np.bool_]:
    """What is pen of what has the color of ink or is black; the rest is dye. Smoothing smears a spot by ``halo`` px.

    A slide is stained with a dye of that color where such spots within tissue make up a tenth of all color (then those
    at the edge of tissue are dye, too), or where nearly all color is of it and lies in areas wider than a stroke.
    Small spots within tissue are dye, pigment or dense stain: dense chromogen and melanin are black, too.
    """
    colored = ink | black
    pen = colored.copy()
    for mask in (ink, black):
        if not mask.any():
            continue
        spots = _spots(mask, found & ~colored, ~colored, halo)
        is_tissue = (spots.enclosed >= _WITHIN) & (spots.size * mpp**2 <= _MAX_PIGMENT_UM2)
        if mask is ink:
            is_tissue |= _are_dye(spots, int(np.count_nonzero(found | ink)), mpp)
        is_tissue[0] = False
        pen &= ~is_tissue[spots.labels]
    return pen


def _are_dye(spots: _Spots, n_colored: int, mpp: float) -> NDArray[np.bool_]:
    if spots.size[spots.enclosed >= _ENCLOSED].sum() >= _DYE_SHARE * n_colored:
        return spots.enclosed >= _BESIDE
    if spots.size.sum() < _DYE_ALONE * n_colored:
        return np.zeros(len(spots.size), bool)
    half = ndimage.distance_transform_edt(spots.labels > 0)
    widest = 2 * np.asarray(ndimage.maximum(half, spots.labels, np.arange(len(spots.size))))
    return widest * mpp > _PEN_UM


def _spots(mask: NDArray[np.bool_], tissue: NDArray[np.bool_], others: NDArray[np.bool_], halo: int) -> _Spots:
    """``others`` [h, w]: what counts of a rim, which begins beyond the halo."""
    labels, n = ndimage.label(mask)
    size = np.bincount(labels.ravel(), minlength=n + 1)
    size[0] = 0
    is_rim = others & ~ndimage.maximum_filter(mask, 2 * halo + 1)
    rim = np.where(is_rim, ndimage.maximum_filter(labels, 2 * halo + 5), 0)
    touched = np.bincount(rim.ravel(), weights=tissue.ravel(), minlength=n + 1)
    enclosed = touched / np.maximum(np.bincount(rim.ravel(), minlength=n + 1), 1)
    enclosed[0] = 0
    return _Spots(labels, size, enclosed)


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


def _grown(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """With the four neighbors of each pixel: as scipy's ``binary_dilation``, in a tenth of the time."""
    grown = mask.copy()
    for axis in (0, 1):
        grown.swapaxes(0, axis)[1:] |= mask.swapaxes(0, axis)[:-1]
        grown.swapaxes(0, axis)[:-1] |= mask.swapaxes(0, axis)[1:]
    return grown


def _opened(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Crosses of five pixels that lie within it, which ends at the border."""
    outside = np.pad(~mask, 1, constant_values=True)
    return _grown(~_grown(outside)[1:-1, 1:-1])


def _closed(mask: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    """Gaps of up to twice ``radius`` px are closed, by a square: separable, so its cost hardly grows with it."""
    if radius < 1:
        return mask
    padded = np.pad(mask.view(np.uint8), radius)
    grown = ndimage.maximum_filter(padded, 2 * radius + 1)
    return ndimage.minimum_filter(grown, 2 * radius + 1)[radius:-radius, radius:-radius].view(bool)


def _objects(mask: NDArray[np.bool_], stained: NDArray[np.bool_], mpp: float) -> NDArray[np.bool_]:
    """Objects of some size of which a share is stained, their small holes filled."""
    labels, n = _labels(mask)
    sizes = np.bincount(labels.ravel(), minlength=n + 1)
    stained_px = np.bincount(labels[stained], minlength=n + 1)
    kept = (sizes >= max(_MIN_OBJECT_UM2 / mpp**2, 2)) & (stained_px >= _LEAST_STAINED * sizes)
    kept[0] = False
    return ~_drop_small(~kept[labels], _MAX_HOLE_UM2 / mpp**2)


def _fat(gray: NDArray[np.float32], found: NDArray[np.bool_], mpp: float) -> NDArray[np.bool_]:
    """Fat cells are as clear as glass, and walls between them thin: a high share of what was found is clear."""
    window = max(round(_FAT_WINDOW_UM / mpp), 1)
    clear = ndimage.uniform_filter((found & (gray < _CLEAR_DENSITY)).astype(np.float32), window)
    around = ndimage.uniform_filter(found.astype(np.float32), window)
    return _drop_small(found & (clear > _FAT_CLEAR_SHARE * around), _MIN_FAT_UM2 / mpp**2)


def _drop_small(mask: NDArray[np.bool_], min_px: float) -> NDArray[np.bool_]:
    labels, n = _labels(mask)
    if n == 0:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return (sizes >= max(min_px, 2))[labels]


def _labels(mask: NDArray[np.bool_]) -> tuple[NDArray[np.intp], int]:
    """Connected parts [h, w], 0 none, and how many: as the integers that count and index without being converted."""
    labels = np.empty(mask.shape, np.intp)
    return labels, int(ndimage.label(mask, output=labels))
