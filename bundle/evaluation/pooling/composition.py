"""Of what a patient's regions are made, as shares of the cohort's prototypes."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ..protocols.inputs import Bags, Vectors
from .cohort_prototypes import CohortPrototypes, squared_distances


class Composition:
    """A patient is the share of its regions that is nearest to each of the C cohort prototypes: C numbers, sum 1.

    Every region is of one prototype (a histogram of visual words): a soft share would need a temperature, which nothing
    here could choose without labels.

    Args:
        cohort: finds the prototypes.
    """

    name: ClassVar[str] = "composition"

    def __init__(self, cohort: CohortPrototypes) -> None:
        self.cohort = cohort

    @property
    def settings(self) -> tuple[Any, ...]:
        """All that the vectors depend on, but for the regions."""
        return (self.name, self.cohort.n_prototypes, self.cohort.seed)

    def fit(self, train: Bags) -> Composition:
        """Find the prototypes of the training patients."""
        self.centers = self.cohort.fit(train).centers
        return self

    def transform(self, bags: Bags) -> Vectors:
        """Shares of n patients, [n, C]."""
        nearest = squared_distances(bags.values, self.centers).argmin(1)
        counts = np.zeros((len(bags), len(self.centers)))
        np.add.at(counts, (bags.owner, nearest), 1)
        return Vectors((counts / bags.sizes[:, None]).astype(np.float32))
