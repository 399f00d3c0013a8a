"""A patient's regions, carried to the cohort's prototypes by optimal transport."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ...core import SettingError, as_number, as_whole
from ..protocols.inputs import Bags, Rows, Vectors
from .cohort_prototypes import CohortPrototypes, Floats, squared_distances, sums_by_patient


class Transport:
    """A patient is, for each of C cohort prototypes, the mean of the regions that are carried there: C * d numbers [1].

    The plan is that of entropic transport: every region gives the same mass, every prototype takes the same, and the
    cost is the squared distance, in units of its mean over the training regions and prototypes. Prototypes that a
    patient has nothing like are filled all the same, with what is least unlike: that is what sets it apart from a
    mixture.

    Args:
        cohort: finds the prototypes.
        entropy: weight of the entropy, above 0, in units of the mean cost.
        n_iterations: of Sinkhorn's, for every patient alike, so that no patient's vector depends on another's.

    Raises:
        SettingError: no entropy, or no iteration.

    References:
        [1] Mialon et al., "A trainable optimal transport embedding for feature aggregation" (OTK), ICLR 2021, with
            prototypes of K-means and the linear kernel.
    """

    name: ClassVar[str] = "transport"

    def __init__(self, cohort: CohortPrototypes, entropy: float = 0.1, n_iterations: int = 100) -> None:
        self.cohort, self.n_iterations = cohort, as_whole(n_iterations, "n_iterations", 1)
        self.entropy = as_number(entropy, "entropy", 0)
        if self.entropy == 0:
            raise SettingError("the entropy of the transport is 0; give a number above 0, such as 0.1.")

    @property
    def settings(self) -> tuple[Any, ...]:
        """All that the vectors depend on, but for the regions."""
        return (self.name, self.cohort.n_prototypes, self.cohort.seed, self.entropy, self.n_iterations)

    def fit(self, train: Bags) -> Transport:
        """Find the prototypes of the training patients, and the unit of the cost."""
        self.centers = self.cohort.fit(train).centers
        self.unit = float(squared_distances(train.values, self.centers).mean()) or 1.0
        return self

    def transform(self, bags: Bags) -> Vectors:
        """Means of what is carried to each prototype, [n, C d]."""
        cost = squared_distances(bags.values, self.centers) / self.unit
        plan = sinkhorn(cost / self.entropy, bags.owner, bags.sizes, self.n_iterations)
        carried = sums_by_patient(plan * len(self.centers), bags.values.astype(np.float64), bags.owner, len(bags))
        return Vectors(carried.reshape(len(bags), -1).astype(np.float32))


def sinkhorn(cost: Floats, owner: Rows, sizes: Rows, n_iterations: int) -> Floats:
    """Entropic transport of each patient's regions to prototypes, all patients at once.

    Regions give 1 each, which is as good as 1 / n: the prototypes, which come last, set the sum. In logarithms: a
    prototype may be so far from all regions of a patient that its exponentials vanish.

    Args:
        cost: of each region and prototype, in units of the entropy's weight, [M, C].
        owner: patient of each region, [M], ascending.
        sizes: regions of each patient, [n].
        n_iterations: at least 1.

    Returns:
        Mass that each region gives to each prototype, [M, C]: a patient's sum is 1, of each prototype 1 / C.
    """
    starts = np.cumsum(sizes) - sizes
    of_prototype = -np.log(cost.shape[1])
    to = np.zeros((len(sizes), cost.shape[1]))
    for _ in range(n_iterations):
        open_rows = to[owner] - cost
        highest = open_rows.max(1)
        given = -highest - np.log(np.exp(open_rows - highest[:, None]).sum(1))
        open_columns = given[:, None] - cost
        highest = np.maximum.reduceat(open_columns, starts)
        taken = np.add.reduceat(np.exp(open_columns - highest[owner]), starts)
        to = of_prototype - highest - np.log(taken)
    return np.exp(given[:, None] + to[owner] - cost)
