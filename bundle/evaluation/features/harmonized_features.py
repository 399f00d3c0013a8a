"""Features of patients without what their site, or their slide, adds to them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...cohort import SiteMaps, center_groups, center_site, combat
from .pooled_features import PooledFeatures, RegionVectors

HARMONIZE = ("center_slide", "center_site", "combat")
BY_SITE = {"center_site": center_site, "combat": combat}
_MEANS = ("mean_token", "region_embedding")


class HarmonizedFeatures(PooledFeatures):
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
        super().__init__(
            features.slide_ids, features.slide_index, features.n_prototypes, features.device, features.seed
        )
        self._features, self._method, self._train = features, method, train
        self._members, self._sites = members, sites

    @property
    def names(self) -> list[str]:
        """As of the features."""
        return self._features.names

    @property
    def pretraining(self) -> dict[str, list[str] | None]:
        """As of the features."""
        return self._features.pretraining

    def kinds(self, encoder: str) -> list[str]:
        """Those that are left."""
        return kinds_left(self._features.kinds(encoder), self._method)

    def embed(self) -> None:
        """Have the vectors of all regions at hand."""
        self._features.embed()

    def fingerprints(self) -> dict[str, str]:
        """As of the features."""
        return self._features.fingerprints()

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
        regions, sizes = self._regions_of(self._members)
        means = np.add.reduceat(values[regions].astype(np.float64), np.cumsum(sizes) - sizes, axis=0) / sizes[:, None]
        maps: SiteMaps = BY_SITE[self._method](means[self._train], [self._sites[row] for row in self._train])
        site_of = np.full(len(values), None, object)  # of no patient: no site
        site_of[regions] = np.repeat(np.array(self._sites, object), sizes)
        return maps(values, site_of.tolist())


def kinds_left(kinds: Sequence[str], method: str | None) -> list[str]:
    """Of these kinds of features those that a method leaves: the mean of a centered slide is 0."""
    return [kind for kind in kinds if method != "center_slide" or kind not in _MEANS]
