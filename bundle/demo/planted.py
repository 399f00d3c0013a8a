"""A cohort of token grids with a planted truth: known prototypes, and a class that only their mixture gives away."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..core import BundleError
from .fields import Floats

COARSE, FINE = 2.6, 0.45
REGION_PX = 4096


class PlantedSlide(NamedTuple):
    """One slide's token grids, as a token file holds them, and what was planted in them."""

    slide_id: str
    label: int  # 0 or 1
    features: NDArray[np.float16]  # [R, G, G, D], zeros where the mask is False
    coords: NDArray[np.int64]  # [R, 2] level-0 (x, y) of a slide at 0.5 um/px
    mask: NDArray[np.bool_]  # [R, G, G]
    prototype: NDArray[np.int64]  # [R] which planted prototype each region is made from
    site: int  # where it was scanned


class PlantedCohort(NamedTuple):
    """Slides, and the truth behind them."""

    slides: list[PlantedSlide]
    types: Floats  # [n_types, D] unit vectors: what a token of each type looks like without noise
    shares: Floats  # [P, n_types] share of each type in a region of each prototype
    mixtures: Floats  # [2, P] expected share of each prototype in a slide of each label


def planted_tokens(
    n_slides: int,
    regions: int | tuple[int, int],
    dim: int,
    n_types: int = 6,
    seed: int = 0,
    *,
    n_prototypes: int = 4,
    proportion: float = 0.5,
    purity: float = 0.85,
    noise: float = 0.5,
    slide_shift: float = 0.5,
    background: float = 0.15,
    region_patches: int = 16,
    widths: tuple[float, float] = (COARSE, FINE),
    cells: int = 1,
    concentration: float = 0.8,
    in_turn: bool = False,
    slide_gain: float = 0.0,
    n_sites: int = 1,
    site_shift: float = 0.0,
    site_gain: float = 0.0,
    region_shift: float = 0.0,
) -> PlantedCohort:
    """Plants a cohort of token grids.

    Prototypes come in pairs (0, 1), (2, 3), ...: the first lays its token types out in large patches, the second in
    small ones. Slides of label 0 are mostly made of even prototypes, slides of label 1 of odd ones. All tokens of a
    slide share a gain and an offset of each channel, from its site and of its own; neither knows the label.

    With ``region_shift`` all tokens of a region share an offset, too, as they would a focus or a thickness.

    Cohorts of the same seed that differ in ``proportion``, shifts, gains or sites only are the same slides otherwise.

    Args:
        n_slides: labels alternate 0, 1, 0, 1, ...
        regions: of every slide, or (least, most) to draw from.
        dim: width D of a token.
        n_types: kinds of token.
        seed: of everything random; the same arguments give the same arrays.
        n_prototypes: P, even.
        proportion: 0: both of a pair hold the same types in the same shares, so that the label is in the arrangement
            alone and the mean token says nothing; 1: the shares differ fully as well.
        purity: share of a slide's regions that come from its label's prototypes, 0.5 (no signal) to 1.
        noise: length of the noise on a token, whose type's vector has length 1.
        slide_shift: length of an offset that all tokens of a slide share and that does not depend on the label.
        background: share of tokens without tissue.
        region_patches: G, tokens along a side of a region.
        widths: blobs of even and of odd prototypes, as the standard deviation of a Gaussian in tokens.
        cells: a token is the mean of cells x cells places, each of one type. With 1, arrangement is where tokens lie;
            with more, small blobs also make mixed tokens, as a patch of finely mixed tissue would.
        concentration: of the Dirichlet distribution that shares of types are drawn from; the larger, the more alike the
            pairs.
        in_turn: a slide's regions take the pairs of prototypes in turn, instead of by chance, so that the mean over a
            slide does not scatter with how many it has of each pair.
        slide_gain: standard deviation of the logarithm of a slide's gain of each channel.
        n_sites: sites; each has as many slides of both labels as the others (one pair more or less).
        site_shift: length of an offset that all slides of a site share.
        site_gain: standard deviation of the logarithm of a site's gain of each channel.
        region_shift: length of an offset that all tokens of a region share, in a direction of its own.

    Raises:
        BundleError: an argument is out of range.
    """
    least = min(n_slides, n_sites, cells, n_types - 1)
    if n_prototypes < 2 or n_prototypes % 2 or not 0 <= background < 1 or least < 1:
        raise BundleError(
            f"tokens cannot be planted with n_slides={n_slides}, n_types={n_types}, n_prototypes={n_prototypes}, "
            f"background={background}, n_sites={n_sites}, cells={cells}; n_prototypes must be even and at least 2, "
            "n_types at least 2, n_slides, n_sites and cells at least 1, background in [0, 1)."
        )
    rng = np.random.default_rng(seed)
    sites = np.arange(n_slides) // 2 % n_sites
    gains, offsets = _stains(np.random.default_rng((seed, 1)), sites, dim, slide_gain, site_shift, site_gain)
    shifts = np.random.default_rng((seed, 2))  # apart from the rest, which stays as it is without
    types = _unit(rng.standard_normal((n_types, dim)))
    even, odd = rng.dirichlet(np.full(n_types, concentration), size=(2, n_prototypes // 2))
    shares = np.stack([even, (1 - proportion) * even + proportion * odd], axis=1).reshape(n_prototypes, n_types)
    is_odd = np.arange(n_prototypes) % 2
    mixtures = np.stack([np.where(is_odd == label, purity, 1 - purity) for label in (0, 1)]) * 2 / n_prototypes
    slides = []
    for i in range(n_slides):
        n = regions if isinstance(regions, int) else int(rng.integers(regions[0], regions[1] + 1))
        prototype = _choose(rng, n, mixtures[i % 2], in_turn)
        width = cells * np.where(prototype % 2, widths[1], widths[0])
        kinds = _arrange(rng, shares[prototype], width, region_patches * cells)
        tokens = _pooled(types[kinds], cells) + slide_shift * _unit(rng.standard_normal(dim))
        tokens += noise / np.sqrt(dim) * rng.standard_normal(tokens.shape)
        tokens += region_shift * _unit(shifts.standard_normal((n, dim)))[:, None, None]
        tokens = tokens * gains[i] + offsets[i]
        mask = _rank(_blobs(rng, n, region_patches, 2.0)) >= background
        features = np.where(mask[..., None], tokens, 0).astype(np.float16)
        truth = prototype, int(sites[i])
        slides.append(PlantedSlide(f"planted_{i:04d}", i % 2, features, _coords(n), mask, *truth))
    return PlantedCohort(slides, types.astype(np.float32), shares.astype(np.float32), mixtures.astype(np.float32))


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _choose(rng: np.random.Generator, n: int, mixture: NDArray[np.float64], in_turn: bool) -> NDArray[np.int64]:
    """Prototypes of a slide's n regions."""
    prototype = rng.choice(len(mixture), size=n, p=mixture)
    return np.arange(n) * 2 % len(mixture) + prototype % 2 if in_turn else prototype


def _coords(n: int) -> NDArray[np.int64]:
    """Regions in rows of eight, [n, 2]."""
    return REGION_PX * np.stack([np.arange(n) % 8, np.arange(n) // 8], axis=1).astype(np.int64)


def _stains(
    rng: np.random.Generator, sites: NDArray[np.int64], dim: int, slide_gain: float, site_shift: float, site_gain: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Gain and offset of each slide's channels, [n_slides, D] each."""
    n_sites = int(sites.max()) + 1
    offsets = site_shift * _unit(rng.standard_normal((n_sites, dim)))
    log_gains = site_gain * rng.standard_normal((n_sites, dim))
    return np.exp(log_gains[sites] + slide_gain * rng.standard_normal((len(sites), dim))), offsets[sites]


def _pooled(places: NDArray[np.float64], cells: int) -> NDArray[np.float64]:
    """Means of squares of ``cells`` places a side: [n, G * cells, G * cells, D] -> [n, G, G, D]."""
    n, side, _, dim = places.shape
    grid = side // cells
    return places.reshape(n, grid, cells, grid, cells, dim).mean(axis=(2, 4)) if cells > 1 else places


def _blobs(rng: np.random.Generator, n: int, side: int, width: float | NDArray[np.float64]) -> NDArray[np.float64]:
    """Noise [n, side, side], smoothed to blobs of each region's `width` tokens."""
    white = rng.standard_normal((n, side, side))
    widths = np.broadcast_to(width, (n,))
    for value in np.unique(widths):
        chosen = widths == value
        white[chosen] = ndimage.gaussian_filter(white[chosen], (0, value, value), mode="wrap")
    return white


def _rank(field: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each value's rank within its region, in [0, 1)."""
    flat = field.reshape(len(field), -1)
    return (flat.argsort(axis=1).argsort(axis=1) / flat.shape[1]).reshape(field.shape)


def _arrange(
    rng: np.random.Generator, shares: NDArray[np.float64], width: NDArray[np.float64], side: int
) -> NDArray[np.int64]:
    """Token types [n, side, side]: every type has its share of each region, in blobs of the region's `width`."""
    rank = _rank(_blobs(rng, len(shares), side, width))
    upper = np.cumsum(shares, axis=1)[:, None, None, :-1]
    return (rank[..., None] >= upper).sum(axis=-1)
