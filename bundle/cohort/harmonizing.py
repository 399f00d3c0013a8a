"""Vectors without their site: centering, and ComBat, fitted on some rows and applied to any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..core import BundleError

Floats = NDArray[np.float64]
_ROUNDS = 1000  # of the empirical Bayes iteration, which ends after some dozens
_CONVERGED = 1e-13  # relative change


@dataclass(frozen=True)
class SiteMaps:
    """What takes a site out of a vector x: (x - center) / scale + target, with a center and a scale a site.

    It is affine, so the mean of the mapped regions of a patient is the patient's mean, mapped.

    Attributes:
        center, scale: of each site that is known, [d].
        target: where vectors go, [d].
        elsewhere: center of vectors of any other site, [d]; their scale is 1.
    """

    center: dict[str, Floats]
    scale: dict[str, Floats]
    target: Floats
    elsewhere: Floats

    def __call__(self, values: NDArray[np.floating], sites: Sequence[str | None]) -> Floats:
        """Vectors [n, d] without their sites.

        Args:
            values: n vectors.
            sites: of each; None and sites that are not known go by ``elsewhere``.
        """
        found = np.array(values, np.float64)
        names: NDArray[np.object_] = np.array(sites, object)
        for site in dict.fromkeys(sites):
            rows = np.flatnonzero(names == site)
            is_known = site in self.center
            center = self.center[str(site)] if is_known else self.elsewhere
            found[rows] = (found[rows] - center) / (self.scale[str(site)] if is_known else 1.0) + self.target
        return found


def centers_slides(center_tokens: str | None) -> bool:
    """Whether tokens are to be read less the mean of their slide: "slide" says so, None does not.

    Raises:
        BundleError: another word.
    """
    if center_tokens not in (None, "slide"):
        raise BundleError(f"center_tokens is {center_tokens!r}; give slide, or null for tokens as they are.")
    return center_tokens == "slide"


def center_groups(values: NDArray[np.floating], groups: NDArray[np.integer]) -> Floats:
    """Vectors [n, d] less the mean of their group (a slide).

    Args:
        values: n vectors.
        groups: number of the group of each, from 0, [n].
    """
    rows = np.asarray(values, np.float64)
    sums = np.zeros((int(groups.max(initial=-1)) + 1, rows.shape[1]))
    np.add.at(sums, groups, rows)
    counts = np.bincount(groups, minlength=len(sums))
    return rows - (sums / np.maximum(counts, 1)[:, None])[groups]


def center_site(values: NDArray[np.floating], sites: Sequence[str | None]) -> SiteMaps:
    """Subtract a site's mean; vectors of a site that is not known lose the mean of all.

    Args:
        values: vectors to learn from, [n, d].
        sites: of each; those without one count for the mean of all only.

    Raises:
        BundleError: fewer than two sites.
    """
    rows, members = np.asarray(values, np.float64), rows_by_site(sites, "center_site")
    center = {site: rows[places].mean(0) for site, places in members.items()}
    return SiteMaps(center, {site: np.ones(rows.shape[1]) for site in center}, np.zeros(rows.shape[1]), rows.mean(0))


def combat(values: NDArray[np.floating], sites: Sequence[str | None]) -> SiteMaps:
    """Location and scale of each site by parametric empirical Bayes, without covariates [1, section 3.2].

    The sites' effects on all d values are drawn towards their mean over these, the more so the fewer vectors a site
    has. A site with a single vector has no variance of its own: only its location is taken out. Vectors of a site that
    is not known stay as they are. A value that does not vary within sites stays, too.

    Args:
        values: vectors to learn from, [n, d], d at least 2; whatever is predicted of them is not preserved.
        sites: of each; those without one are not learned from.

    Raises:
        BundleError: fewer than two sites, or none with two vectors.

    References:
        [1] Johnson, Li, Rabinovic, "Adjusting batch effects in microarray expression data using empirical Bayes
            methods", Biostatistics 8, 2007.
    """
    rows, members = np.asarray(values, np.float64), rows_by_site(sites, "combat")
    known = np.concatenate(list(members.values()))
    grand = rows[known].mean(0)
    residuals = np.concatenate([rows[places] - rows[places].mean(0) for places in members.values()])
    sigma = np.sqrt((residuals**2).mean(0))
    varies = sigma > 1e-12 * np.abs(rows[known]).max(0, initial=0.0)
    center, scale, nothing, one = {}, {}, np.zeros(rows.shape[1]), np.ones(rows.shape[1])
    for site, places in members.items():
        standard = (rows[places][:, varies] - grand[varies]) / sigma[varies]
        shift, spread = nothing.copy(), one.copy()
        if varies.any():
            shift[varies], spread[varies] = _empirical_bayes(standard)
        center[site], scale[site] = grand + sigma * shift, np.sqrt(spread)
    return SiteMaps(center, scale, grand, grand)


def _empirical_bayes(standard: Floats) -> tuple[Floats, Floats]:
    """Shift and variance [d] of a site from its standardized vectors [n, d]: the mean of a normal and an inverse gamma
    prior, with hyperparameters from the d values by moments, and the site's own; each in terms of the other in turn."""
    n, own_shift = len(standard), standard.mean(0)
    prior_mean = own_shift.mean()
    prior_variance = own_shift.var(ddof=1) if len(own_shift) > 1 else 0.0

    def shift_of(spread: Floats) -> Floats:
        return (n * prior_variance * own_shift + spread * prior_mean) / (n * prior_variance + spread)

    if n < 2:
        spread = np.ones(standard.shape[1])
        return shift_of(spread), spread
    spread = own = standard.var(0, ddof=1)
    of_spread = own.var(ddof=1) if len(own) > 1 else 0.0
    if of_spread <= 1e-12 * own.mean() ** 2:  # all values vary alike, and the prior holds nothing else
        spread = np.full_like(own, own.mean())
        return shift_of(spread), spread
    shape, rate = 2 + own.mean() ** 2 / of_spread, own.mean() + own.mean() ** 3 / of_spread
    shift = own_shift
    for _ in range(_ROUNDS):
        before = np.concatenate([shift, spread])
        shift = shift_of(spread)
        spread = (rate + 0.5 * ((standard - shift) ** 2).sum(0)) / (n / 2 + shape - 1)
        if np.abs(np.concatenate([shift, spread]) - before).max() <= _CONVERGED * spread.max():
            break
    return shift, spread


def rows_by_site(sites: Sequence[str | None], method: str) -> dict[str, NDArray[np.int64]]:
    """Rows of each site, in the order of the first; it is here that too few of them are refused.

    Args:
        sites: of the rows to learn from, None where unknown.
        method: "center_site" or "combat".

    Raises:
        BundleError: fewer than two sites, or for ComBat none with two rows.
    """
    names: NDArray[np.object_] = np.array(sites, object)
    members = {site: np.flatnonzero(names == site) for site in dict.fromkeys(sites) if site is not None}
    if len(members) < 2:
        found = f"only {next(iter(members))!r}" if members else "none"
        raise BundleError(
            f"harmonize is {method}, which needs patients of two sites to learn from, and there is {found}: fill the "
            "slide table's column site, or leave harmonize out."
        )
    if method == "combat" and all(len(places) < 2 for places in members.values()):
        raise BundleError(
            "harmonize is combat, and no site has two patients to learn from: how much they vary within a site cannot "
            "be told. Use center_site, or join sites."
        )
    return members
