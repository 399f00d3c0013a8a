"""When prototypes are made: clustering and cross-slide assignment at an epoch's start."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from ignite.engine import Engine, Events
from torch import Tensor

from ...prototypes import PrototypeBank
from .midway import is_midway
from .turn import Turn


class _AfterWarmup(ABC):
    """Fires at the start of every epoch after ``warmup_epochs`` (they count from 1); not where a run goes on midway."""

    clock: str

    def __init__(self, prototypes: PrototypeBank, prototype_warmup_epochs: int = 20) -> None:
        self.prototypes = prototypes
        self.warmup_epochs = int(prototype_warmup_epochs)

    def attach(self, engine: Engine) -> None:
        if not hasattr(engine.state, "prototype_stats"):
            engine.state.prototype_stats = {}
        engine.add_event_handler(Events.EPOCH_STARTED(event_filter=self._is_due), self)

    def _is_due(self, engine: Engine, epoch: int) -> bool:
        return epoch > self.warmup_epochs and not is_midway(engine)

    def __call__(self, engine: Engine) -> None:
        started = time.perf_counter()
        engine.state.prototype_stats |= self.work() | {self.clock: time.perf_counter() - started}

    @abstractmethod
    def work(self) -> dict[str, Any]:
        """Do it, and give the numbers that are worth a look."""


class ReclusterHandler(_AfterWarmup):
    """Clusters every slide's regions anew, from the teacher's features of this moment.

    Args:
        prototypes: the bank to fill.
        region_features: gives the L2-normalized features of all regions, [N, d].
        dataset: has the slide of each region, ``slide_index`` [N], ascending, and ``slide_ids``.
        prototype_warmup_epochs: epochs of plain DINO before the first clustering: 20 clusters first before the 21st.
    """

    turn = Turn.CLUSTER
    clock = "recluster_seconds"

    def __init__(
        self,
        prototypes: PrototypeBank,
        region_features: Callable[[], Tensor],
        dataset: Any,
        prototype_warmup_epochs: int = 20,
    ) -> None:
        super().__init__(prototypes, prototype_warmup_epochs)
        self.region_features, self.dataset = region_features, dataset

    def work(self) -> dict[str, Any]:
        return self.prototypes.fit(self.region_features(), self.dataset.slide_index, len(self.dataset.slide_ids))


class CrossSlideHandler(_AfterWarmup):
    """Finds each slide's nearest slides and which prototype goes with which.

    Args:
        prototypes: the bank, just filled.
        prototype_warmup_epochs: as for :class:`ReclusterHandler`.
    """

    turn = Turn.MATCH
    clock = "matching_seconds"

    def work(self) -> dict[str, Any]:
        return self.prototypes.match()
