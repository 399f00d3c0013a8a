"""Features of patients from vectors of regions, wherever these come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from ...core import as_whole
from ...heads import means_of
from ...prototypes import batched_kmeans
from ..protocols.inputs import Bags, Inputs, PrototypeSets, TokenBags, Vectors
from .region_encoders import TOKENS

SLIDE_VECTOR = "slide_vector"  # what another program says of a whole slide
PATCH_TOKENS = "patch_tokens"
KIND_OF = {  # the kind of input that features become
    "mean_token": Vectors.kind,
    "region_embedding": Vectors.kind,
    "regions": Bags.kind,
    "prototypes": PrototypeSets.kind,
    SLIDE_VECTOR: Vectors.kind,
    "mixture": Vectors.kind,
    "composition": Vectors.kind,
    "transport": Vectors.kind,
    PATCH_TOKENS: TokenBags.kind,
}
FEATURES = tuple(KIND_OF)
POOLED = ("mixture", "composition", "transport")  # bags, made vectors by what the training patients of a split show
USUAL_FEATURES = tuple(name for name in FEATURES if name not in (*POOLED, SLIDE_VECTOR, PATCH_TOKENS))


class RegionVectors(NamedTuple):
    """All regions of the cohort: ``embedding`` [N, dim], and ``projection`` [N, d] of unit length, float32."""

    embedding: NDArray[np.float32]
    projection: NDArray[np.float32]


class PooledFeatures:
    """Regions of all slides, pooled over each patient's.

    Args:
        slide_ids: S slides.
        slide_index: slide of each region, ascending, [N].
        n_prototypes: K, prototypes of a patient; fewer where there are fewer distinct regions.
        device: where to cluster.
        seed: of K-means.
    """

    def __init__(
        self,
        slide_ids: Sequence[str],
        slide_index: NDArray[np.int64],
        n_prototypes: int = 4,
        device: torch.device | str = "cpu",
        seed: int = 0,
    ) -> None:
        self.slide_ids, self.slide_index = list(slide_ids), slide_index
        self.n_prototypes = as_whole(n_prototypes, "n_prototypes", 1)
        self.device, self.seed = torch.device(device), as_whole(seed, "seed")

    @property
    def names(self) -> list[str]:
        """What the encoders are called in results."""
        raise NotImplementedError

    @property
    def pretraining(self) -> dict[str, list[str] | None]:
        """Slides that each encoder was trained on; None where unknown."""
        raise NotImplementedError

    def kinds(self, encoder: str) -> list[str]:
        """Which features there are of an encoder."""
        others = (SLIDE_VECTOR, PATCH_TOKENS, "region_embedding" if encoder == TOKENS else "mean_token")
        return [f for f in FEATURES if f not in others]

    def has_regions(self, encoder: str) -> bool:
        """Whether there are vectors of regions, and not of slides alone."""
        return "regions" in self.kinds(encoder)

    def embed(self) -> None:
        """Have the vectors of all regions at hand, where they are not."""

    def regions(self, encoder: str) -> RegionVectors:
        """Regions of the whole cohort, in the order of ``slide_index``."""
        raise NotImplementedError

    def fingerprints(self) -> dict[str, str]:
        """A text for each slide by which copies of it are found; slides without one have no copy."""
        return {}

    def of_patients(self, encoder: str, features: str, members: Sequence[Sequence[int]]) -> Inputs:
        """Features of patients, from the regions of all their slides together.

        Args:
            encoder: one of ``names``.
            features: one of ``kinds(encoder)``; those that are still to be pooled are bags.
            members: places in ``slide_ids`` of the slides of each of n patients.
        """
        regions, sizes = self.regions_of(members)
        if features == "prototypes":
            return self._prototypes(self.regions(encoder).projection[regions], sizes)
        values = self.regions(encoder).embedding[regions]
        if features == "regions" or features in POOLED:
            return Bags(values, sizes)
        return Vectors(means_of(values, sizes).astype(np.float32))

    def regions_of(self, members: Sequence[Sequence[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Regions of the patients one after the other, [M], and how many each has, [n]."""
        starts = np.searchsorted(self.slide_index, np.arange(len(self.slide_ids) + 1))
        groups = [np.concatenate([np.arange(starts[s], starts[s + 1]) for s in slides]) for slides in members]
        return np.concatenate(groups), np.array([len(group) for group in groups], np.int64)

    def _prototypes(self, projection: NDArray[np.float32], sizes: NDArray[np.int64]) -> PrototypeSets:
        owner = torch.from_numpy(np.repeat(np.arange(len(sizes)), sizes)).to(self.device)
        wanted = torch.full((len(sizes),), self.n_prototypes, device=self.device)
        points = torch.from_numpy(projection).to(self.device)
        clusters = batched_kmeans(points, owner, wanted, seed=self.seed)
        centroids = normalize(clusters.centroids, dim=2) * clusters.valid[..., None]
        return PrototypeSets(centroids.float().cpu().numpy(), clusters.valid.cpu().numpy())


class FeaturesAround(PooledFeatures):
    """What other features have, for those that add something to them, or take it out.

    Args:
        features: of the same slides.
    """

    def __init__(self, features: PooledFeatures) -> None:
        super().__init__(
            features.slide_ids, features.slide_index, features.n_prototypes, features.device, features.seed
        )
        self._features = features

    @property
    def names(self) -> list[str]:
        """As of the features, and so is all that follows."""
        return self._features.names

    @property
    def pretraining(self) -> dict[str, list[str] | None]:
        """Slides that each encoder was trained on; None where unknown."""
        return self._features.pretraining

    def kinds(self, encoder: str) -> list[str]:
        """Which features there are of an encoder."""
        return self._features.kinds(encoder)

    def embed(self) -> None:
        """Have the vectors of all regions at hand, where they are not."""
        self._features.embed()

    def regions(self, encoder: str) -> RegionVectors:
        """Regions of the whole cohort, in the order of ``slide_index``."""
        return self._features.regions(encoder)

    def fingerprints(self) -> dict[str, str]:
        """A text for each slide by which copies of it are found; slides without one have no copy."""
        return self._features.fingerprints()
