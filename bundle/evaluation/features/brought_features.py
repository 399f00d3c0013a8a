"""Features of patients with vectors of slides beside them that another program made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ...core import BundleError
from ..protocols.inputs import Inputs, Vectors
from .pooled_features import SLIDE_VECTOR, FeaturesAround, PooledFeatures
from .region_encoders import TOKENS


class BroughtFeatures(FeaturesAround):
    """All that other features have, and a further encoder for each source of slide vectors.

    A slide vector has no regions: its only kind is "slide_vector", the mean over a patient's slides, each counting
    alike.

    Args:
        features: of the same slides.
        vectors: by name, of each of their S slides, [S, d].

    Raises:
        BundleError: a name is taken.
    """

    def __init__(self, features: PooledFeatures, vectors: Mapping[str, NDArray[np.float32]]) -> None:
        super().__init__(features)
        self._vectors = dict(vectors)
        taken = [name for name in self._vectors if name in {TOKENS, *features.names}]
        if taken:
            raise BundleError(f"slide_vectors are called {taken[0]!r}, as an encoder is; choose another name.")

    @property
    def names(self) -> list[str]:
        """The encoders, then the sources of vectors."""
        return [*self._features.names, *self._vectors]

    @property
    def pretraining(self) -> dict[str, list[str] | None]:
        """Slides that each encoder was trained on; of what made the vectors they are not known."""
        return {**self._features.pretraining, **dict.fromkeys(self._vectors)}

    def kinds(self, encoder: str) -> list[str]:
        """Which features there are of an encoder."""
        return [SLIDE_VECTOR] if encoder in self._vectors else self._features.kinds(encoder)

    def of_patients(self, encoder: str, features: str, members: Sequence[Sequence[int]]) -> Inputs:
        """Features of patients, from all their slides together."""
        if encoder not in self._vectors:
            return self._features.of_patients(encoder, features, members)
        vectors = self._vectors[encoder].astype(np.float64)
        return Vectors(np.stack([vectors[list(slides)].mean(0) for slides in members]).astype(np.float32))
