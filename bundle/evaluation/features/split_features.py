"""Features of patients as each split may see them: harmonized by what its training patients say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...cohort import PatientRows, Split, rows_by_site
from ...core import BundleError
from ..protocols.inputs import Inputs, Vectors
from .harmonized_features import BY_SITE, HARMONIZE, HarmonizedFeatures, kinds_left
from .pooled_features import KIND_OF, POOLED, PooledFeatures


class Round(NamedTuple):
    """Features, and the patients that are asked for under them (rows); all patients are there to be compared with."""

    features: PooledFeatures
    asked: NDArray[np.int64]


class SplitFeatures:
    """Features for each split; the same for all where nothing is learned from training patients.

    Args:
        features: as they are.
        patients: one row a patient.
        splits: of the rows.
        harmonize: "center_slide", "center_site" or "combat", see :class:`HarmonizedFeatures`; None: as they are.

    Attributes:
        notes: sentences for the reader.

    Raises:
        BundleError: no such method; a training set that sites cannot be learned from.
    """

    def __init__(
        self, features: PooledFeatures, patients: PatientRows, splits: Sequence[Split], harmonize: str | None = None
    ) -> None:
        self.notes = _notes(harmonize, patients.sites, splits)
        self._features, self._patients, self._splits, self._harmonize = features, patients, splits, harmonize
        self._is_by_split = harmonize in BY_SITE

    def kinds(self, encoder: str) -> list[str]:
        """Which features there are of an encoder."""
        return kinds_left(self._features.kinds(encoder), self._harmonize)

    def inputs(self, encoder: str, kind: str) -> Iterator[tuple[Inputs, Sequence[Split]]]:
        """Features of all patients, and the splits that they are for, which are in their order."""
        for split in self._splits if self._is_by_split else self._splits[:1]:
            made = self._of(split).of_patients(encoder, kind, self._patients.members)
            yield made, [split] if self._is_by_split else self._splits

    def rounds(self) -> list[Round]:
        """All patients at once where features are the same for all splits, else those that a split tests."""
        if not self._is_by_split:
            return [Round(self._of(self._splits[0]), np.arange(len(self._patients.units)))]
        return [Round(self._of(split), split.test) for split in self._splits]

    def _of(self, split: Split) -> PooledFeatures:
        if self._harmonize is None:
            return self._features
        patients = self._patients
        return HarmonizedFeatures(self._features, self._harmonize, patients.members, patients.sites, split.train)


def vectors_of(
    features: PooledFeatures, encoder: str, members: Sequence[Sequence[int]]
) -> tuple[str, NDArray[np.float32]] | None:
    """The first kind of features of an encoder that is a vector a patient, and these, [n, d]; None without any."""
    for kind in features.kinds(encoder):
        if KIND_OF[kind] == Vectors.kind and kind not in POOLED:
            made = features.of_patients(encoder, kind, members)
            assert isinstance(made, Vectors)
            return kind, made.values
    return None


def _notes(method: str | None, sites: Sequence[str | None], splits: Sequence[Split]) -> list[str]:
    """What a reader is to know.

    Args:
        method: one of ``HARMONIZE``; None: nothing is harmonized.
        sites: of the patients.
        splits: whose training patients sites are learned from.

    Raises:
        BundleError: no such method; a training set that sites cannot be learned from.
    """
    if method is not None and method not in HARMONIZE:
        raise BundleError(f"harmonize is {method!r}; choose from {', '.join(HARMONIZE)}, or null.")
    if method not in BY_SITE:
        return []
    missing: dict[str, int] = {}
    for split in splits:
        known = rows_by_site([sites[row] for row in split.train], method)
        for site in sorted({str(sites[row] or "unknown") for row in split.test} - set(known)):
            missing[site] = missing.get(site, 0) + 1
    if not missing:
        return []
    where = ", ".join(f"{site} ({n} split{'' if n == 1 else 's'})" for site, n in missing.items())
    fate = "stay as they are" if method == "combat" else "lose the mean of all training patients only"
    return [f"harmonize is {method}: tested patients of sites that their training patients lack {fate}: {where}."]
