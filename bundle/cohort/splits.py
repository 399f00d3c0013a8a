"""Which patients are learned from and which are predicted: folds, shares of them, and what is wrong with a split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core import BundleError

Rows = NDArray[np.int64]
_N_SEARCHES = 64  # random orders of the sites that are tried
_MAX_TIME_GROUPS = 4


@dataclass(frozen=True)
class Split:
    """Rows (units: patients after pooling) to learn from and to predict.

    Attributes:
        name: "fold 3", "test".
        train: indices, int64.
        test: indices, int64.
    """

    name: str
    train: NDArray[np.int64]
    test: NDArray[np.int64]


def patient_folds(
    targets: NDArray[Any],
    n_folds: int,
    seed: int = 0,
    sites: Sequence[str | None] | None = None,
    names: Sequence[str] | None = None,
) -> list[Split]:
    """Folds with the same share of every class; for survival, of events and of early and late times.

    Args:
        targets: class index or any stratum, [n]; or time and event [n, 2]. Rows are patients.
        n_folds: at least 2.
        seed: who stands in which fold depends on it and on the targets only.
        sites: site of each row. Given: no site on both sides of a fold, and folds as alike in classes and size as that
            allows (the best of some random orders). Rows without a site stay together.
        names: of the classes, for messages.

    Raises:
        BundleError: there are fewer rows of a class, or fewer sites, than folds; fewer than two folds.
    """
    if n_folds < 2:
        raise BundleError(f"n_folds is {n_folds}: give at least 2, or a file of splits.")
    strata = _strata(targets, n_folds)
    counts = np.bincount(strata)
    for stratum in np.flatnonzero((counts > 0) & (counts < n_folds)):
        n_rows, merging = counts[stratum], "" if targets.ndim == 2 else "merge the class with another, "
        fewer = f"give n_folds up to {n_rows}, " if n_rows > 1 else ""
        raise BundleError(
            f"patients with {_listed(np.array([stratum]), targets, names)}: {n_rows}, too few for {n_folds} folds; "
            f"{fewer}{merging}or give a file of splits."
        )
    rng = np.random.default_rng(seed)
    fold = _dealt(strata, n_folds, rng) if sites is None else _by_site(strata, n_folds, sites, rng)
    every = np.arange(len(strata), dtype=np.int64)
    return [Split(f"fold {i + 1}", every[fold != i], every[fold == i]) for i in range(n_folds)]


def fraction_of(train: Rows, targets: NDArray[Any], fraction: float, seed: int = 0) -> Rows:
    """A share of the training rows, class by class; a smaller share is part of a larger one.

    Args:
        train: rows [m].
        targets: of all rows: class index [n], or time and event [n, 2] (shares are taken of events and of censored).
        fraction: in (0, 1]; two rows of each class are kept at least, where there are two.
        seed: which rows.

    Raises:
        BundleError: the fraction is outside its range.
    """
    if not 0 < fraction <= 1:
        raise BundleError(f"a train fraction is {fraction}: give a number above 0, up to 1.")
    classes, rng = _classes(targets)[train], np.random.default_rng(seed)
    kept = []
    for each in np.unique(classes):
        order = rng.permutation(train[classes == each])
        kept.append(order[: max(round(fraction * len(order)), min(2, len(order)))])
    return np.sort(np.concatenate(kept)) if kept else train


def check_splits(
    splits: Sequence[Split],
    targets: NDArray[Any],
    names: Sequence[str] | None = None,
    sites: Sequence[str | None] | None = None,
) -> list[str]:
    """Refuse splits that cannot be used, and say what a reader should know of the others.

    Args:
        splits: rows are patients.
        targets: class index [n], or time and event [n, 2].
        names: of the classes.
        sites: site of each row.

    Returns:
        Sentences: classes missing from tests or training, tests without an event, sites on both sides.

    Raises:
        BundleError: a row on both sides or twice on one, an empty side, a training side with one class only or
            without an event.
    """
    classes, notes = _classes(targets), []
    is_survival = targets.ndim == 2
    needed = np.array([1]) if is_survival else np.unique(classes)
    for split in splits:
        check_split(split)
        unlearned, untested = (np.setdiff1d(needed, classes[rows]) for rows in (split.train, split.test))
        n_learned = len(needed) - len(unlearned)
        if n_learned < (1 if is_survival else 2):
            found = "have no event" if is_survival else f"are of {n_learned} class"
            raise BundleError(
                f"{split.name}: the {len(split.train)} patients to learn from {found}, so that there is nothing to "
                "learn; split otherwise, or label more patients."
            )
        if len(unlearned):
            notes.append(f"{split.name} learns from no patient with {_listed(unlearned, targets, names)}.")
        if len(untested):
            lost = _listed(untested, targets, names)
            notes.append(f"{split.name} tests on no patient with {lost}: figures that need one are left out.")
    return notes + _site_notes(splits, sites)


def on_both_sides(splits: Sequence[Split], patient_of: Sequence[str]) -> dict[str, list[str]]:
    """By split, the patients of whom some rows are learned from and others predicted; none where a patient is one row.

    Args:
        splits: rows.
        patient_of: patient of each row.
    """
    found = {}
    for split in splits:
        learned, tested = ({patient_of[row] for row in rows.tolist()} for rows in (split.train, split.test))
        if both := sorted(learned & tested):
            found[split.name] = both
    return found


def check_split(split: Split) -> None:
    """Make sure that a split has two sides that share no row.

    Raises:
        BundleError: a side is empty, or a row stands on both or twice on one.
    """
    for side, rows in (("learn from", split.train), ("predict", split.test)):
        if len(rows) == 0:
            raise BundleError(f"{split.name} has no patient to {side}; every split needs some on both sides.")
        if len(np.unique(rows)) < len(rows):
            raise BundleError(f"{split.name} has the same patient twice among those to {side}; name each once.")
    both = np.intersect1d(split.train, split.test)
    if len(both):
        raise BundleError(f"{split.name}: {len(both)} patients stand on both sides, such as row {both[0]}; move them.")


def _classes(targets: NDArray[Any]) -> Rows:
    """Class of each row; for survival whether the event was seen."""
    return (targets if targets.ndim == 1 else targets[:, 1] > 0).astype(np.int64)


def _listed(classes: Rows, targets: NDArray[Any], names: Sequence[str] | None) -> str:
    """What the patients are said to have: classes by name, or an event."""
    if targets.ndim == 2:
        return "an event"
    return ", ".join(f"class {names[c] if names else c}" for c in classes)


def _strata(targets: NDArray[Any], n_folds: int) -> Rows:
    """What is dealt out evenly: classes, or early and late events and censored times.

    Censored rows too few for a group of their own stand with the events: only events must be in every fold.
    """
    if targets.ndim == 1:
        return targets.astype(np.int64)
    time, event = targets[:, 0], targets[:, 1] > 0
    of_events, of_censored = _time_groups(time, event, n_folds), _time_groups(time, ~event, n_folds)
    offset = _MAX_TIME_GROUPS if (~event).sum() >= n_folds else 0
    return np.where(event, of_events, of_censored + offset)


def _time_groups(time: NDArray[np.float64], mine: NDArray[np.bool_], n_folds: int) -> Rows:
    """Rank of the time among some rows, in up to four groups of two rows a fold."""
    n = int(mine.sum())
    n_groups = int(np.clip(n // (2 * n_folds), 1, _MAX_TIME_GROUPS))
    groups = np.zeros(len(time), np.int64)
    groups[np.flatnonzero(mine)[np.argsort(time[mine], kind="stable")]] = np.arange(n) * n_groups // max(n, 1)
    return groups


def _dealt(strata: Rows, n_folds: int, rng: np.random.Generator) -> Rows:
    """Fold of each row: rows shuffled within strata, then dealt out in turn, so that counts and sizes differ by one."""
    rows = np.concatenate([rng.permutation(np.flatnonzero(strata == s)) for s in np.unique(strata)])
    fold = np.empty(len(strata), np.int64)
    fold[rows] = np.arange(len(strata)) % n_folds
    return fold


def _by_site(strata: Rows, n_folds: int, sites: Sequence[str | None], rng: np.random.Generator) -> Rows:
    """Fold of each row: whole sites, large ones first, each into the fold that stays nearest to its share."""
    known = sorted({site for site in sites if site})
    place = {site: i for i, site in enumerate([*known, None] if not all(sites) else known)}
    site_of = np.array([place[site or None] for site in sites])
    if len(place) < n_folds:
        raise BundleError(
            f"the patients come from {len(place)} sites ({', '.join(known[:5])}), too few for {n_folds} folds that "
            f"keep sites apart: {f'give n_folds up to {len(place)}' if len(place) > 1 else 'fill the column site'}, or "
            "preserve_sites false."
        )
    counts = np.stack([np.bincount(strata[site_of == i], minlength=strata.max() + 1) for i in range(len(place))])
    counts = np.column_stack([counts[:, counts.any(0)], counts.sum(1)]).astype(np.float64)
    shares = counts / counts.sum(0)
    best, least = site_of, np.inf
    for _ in range(_N_SEARCHES):
        fold_of_site, filled = np.empty(len(place), np.int64), np.zeros((n_folds, shares.shape[1]))
        for site in np.argsort(-shares[:, -1] * rng.uniform(0.7, 1.3, len(place)), kind="stable"):
            # a site of shares s makes the sum of squares of a fold of shares f larger by 2 f s + s^2; only f differs
            fold_of_site[site] = int(np.argmin(filled @ shares[site]))
            filled[fold_of_site[site]] += shares[site]
        unevenness = float(((filled - 1 / n_folds) ** 2).sum())
        if unevenness < least:
            best, least = fold_of_site[site_of], unevenness
    return best


def _site_notes(splits: Sequence[Split], sites: Sequence[str | None] | None) -> list[str]:
    known = {site for site in sites or [] if site}
    if sites is None or len(known) < 2:
        return []
    shared: set[str] = set()
    for split in splits:
        sides = [{site for row in rows if (site := sites[row])} for rows in (split.train, split.test)]
        shared |= sides[0] & sides[1]
    notes, n_unknown = [], sum(not site for site in sites)
    if shared:
        notes.append(
            f"{len(shared)} of {len(known)} sites stand on both sides: figures may rest on stain or scanner, "
            "preserve_sites true keeps them apart."
        )
    if n_unknown:
        notes.append(f"{n_unknown} patients have no site: whether it stands on the other side, too, is not known.")
    return notes
