"""Features of patients without what their site, or their slide, adds to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...cohort import SiteMaps, center_groups, center_site, combat
from ...heads import means_of
from ..protocols.inputs import Inputs, Vectors
from .pooled_features import PATCH_TOKENS, SLIDE_VECTOR, FeaturesAround, PooledFeatures, RegionVectors

HARMONIZE = ("center_slide", "center_site", "combat")
BY_SITE = {"center_site": center_site, "combat": combat}
_MEANS = ("mean_token", "region_embedding", SLIDE_VECTOR)


class HarmonizedFeatures(FeaturesAround):
    """Features as they are, harmonized by what the vectors of some patients say of their sites.

    Sites are learned from one vector a patient (the mean of its regions, as :meth:`of_patients` has it), so that a
    patient counts once however large its slides are. What is learned is affine, and taken out of regions: a patient's
    vector is still the mean of its regions. Projections are harmonized likewise, and made of length 1 again. Slides
    are centered on their own and learn from nobody; a patient's mean is then 0, and is no feature any more.

    Args:
        features: as they are.
        method: "center_slide", "center_site" or "combat", see :mod:`bundle.cohort.harmonizing`.
        members: places in ``slide_ids`` of the slides of each of n patients.
        sites: of the patients, None where unknown.
        train: patients to learn from, rows of ``members``.
    """

    def __init__(
        self,
        features: PooledFeatures,
        method: str,
        members: Sequence[Sequence[int]],
        sites: Sequence[str | None],
        train: NDArray[np.int64],
    ) -> None:
        super().__init__(features)
        self._method, self._train = method, train
        self._members, self._sites = members, sites

    def kinds(self, encoder: str) -> list[str]:
        """Those that are left."""
        return kinds_left(self._features.kinds(encoder), self._method)

    def of_patients(self, encoder: str, features: str, members: Sequence[Sequence[int]]) -> Inputs:
        """Features of patients; of brought vectors of the same patients that sites were learned from."""
        if features != SLIDE_VECTOR:
            return super().of_patients(encoder, features, members)
        plain = self._features.of_patients(encoder, features, members)
        assert isinstance(plain, Vectors)
        return Vectors(self._maps(plain.values)(plain.values, self._sites).astype(np.float32))

    def regions(self, encoder: str) -> RegionVectors:
        """Harmonized regions of the whole cohort."""
        plain = self._features.regions(encoder)
        embedding, projection = self._harmonized(plain.embedding), self._harmonized(plain.projection)
        length = np.linalg.norm(projection, axis=1, keepdims=True)
        projection /= np.where(length > 0, length, 1.0)
        return RegionVectors(embedding.astype(np.float32), projection.astype(np.float32))

    def _harmonized(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        if self._method == "center_slide":
            return center_groups(values, self.slide_index)
        regions, sizes = self.regions_of(self._members)
        site_of = np.full(len(values), None, object)  # of no patient: no site
        site_of[regions] = np.repeat(np.array(self._sites, object), sizes)
        return self._maps(means_of(values[regions], sizes))(values, site_of.tolist())

    def _maps(self, vectors: NDArray[Any]) -> SiteMaps:
        """What the training patients' vectors, of all patients [n, d], say of their sites."""
        return BY_SITE[self._method](vectors[self._train], [self._sites[row] for row in self._train])


def kinds_left(kinds: Sequence[str], method: str | None) -> list[str]:
    """Of these kinds of features those that a method leaves.

    The mean of a centered slide is 0, and so would be its brought vector; patch tokens are read as their files have
    them.
    """
    gone = () if method is None else (PATCH_TOKENS, *_MEANS) if method == "center_slide" else (PATCH_TOKENS,)
    return [kind for kind in kinds if kind not in gone]
