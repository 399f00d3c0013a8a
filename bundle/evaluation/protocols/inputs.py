"""What a protocol may learn from: one vector a patient, a bag of region vectors, or a set of prototypes.

A protocol is called as ``protocol(train, targets, test, n_classes, seed)`` and gives scores: probabilities [n_test, C]
that sum to 1, or risks [n_test, 1]. It has a ``name``, the ``tasks`` that it takes ("classification", "ordinal",
"survival") and the kinds of input that it ``takes`` (``Vectors.kind``, ``Bags.kind``, ``PrototypeSets.kind``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Vectors:
    """One vector a patient: ``values`` float32 [n, d]."""

    kind: ClassVar[str] = "vectors"
    values: NDArray[np.float32]

    def __len__(self) -> int:
        """Number of patients."""
        return len(self.values)

    def take(self, rows: Rows) -> Vectors:
        """The features of these patients, in this order."""
        return Vectors(self.values[rows])

    def arrays(self) -> list[NDArray[np.generic]]:
        """All that is in it, for a fingerprint."""
        return [self.values]


@dataclass(frozen=True)
class Bags:
    """The regions of each patient: ``values`` float32 [M, d], grouped by patient, ``sizes`` int64 [n], all above 0."""

    kind: ClassVar[str] = "bags"
    values: NDArray[np.float32]
    sizes: Rows

    def __len__(self) -> int:
        """Number of patients."""
        return len(self.sizes)

    @property
    def owner(self) -> Rows:
        """Patient of each region, [M], ascending."""
        return np.repeat(np.arange(len(self.sizes)), self.sizes)

    def take(self, rows: Rows) -> Bags:
        """The features of these patients, in this order."""
        sizes = self.sizes[rows]
        starts = (np.cumsum(self.sizes) - self.sizes)[rows]
        within = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        return Bags(self.values[np.repeat(starts, sizes) + within], sizes)

    def arrays(self) -> list[NDArray[np.generic]]:
        """All that is in it, for a fingerprint."""
        return [self.values, self.sizes]


@dataclass(frozen=True)
class PrototypeSets:
    """Up to K prototypes a patient: L2-normalized ``values`` float32 [n, K, d], ``valid`` bool [n, K]."""

    kind: ClassVar[str] = "prototypes"
    values: NDArray[np.float32]
    valid: NDArray[np.bool_]

    def __len__(self) -> int:
        """Number of patients."""
        return len(self.valid)

    def take(self, rows: Rows) -> PrototypeSets:
        """The features of these patients, in this order."""
        return PrototypeSets(self.values[rows], self.valid[rows])

    def arrays(self) -> list[NDArray[np.generic]]:
        """All that is in it, for a fingerprint."""
        return [self.values, self.valid]


Inputs = Vectors | Bags | PrototypeSets
