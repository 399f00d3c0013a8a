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

    def __init__(self, prototypes: PrototypeBank, warmup_epochs: int = 20) -> None:
        self.prototypes = prototypes
        self.warmup_epochs = int(warmup_epochs)

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
        features: gives the L2-normalized features of all regions, [N, d].
        slide_index: slide of each region, LongTensor [N], sorted.
        n_slides: number of slides.
        warmup_epochs: epochs of plain DINO before the first clustering: 20 clusters first before the 21st.
    """

    turn = Turn.CLUSTER
    clock = "recluster_seconds"

    def __init__(
        self,
        prototypes: PrototypeBank,
        features: Callable[[], Tensor],
        slide_index: Tensor,
        n_slides: int,
        warmup_epochs: int = 20,
    ) -> None:
        super().__init__(prototypes, warmup_epochs)
        self.features = features
        self.slide_index = slide_index
        self.n_slides = n_slides

    def work(self) -> dict[str, Any]:
        return self.prototypes.fit(self.features(), self.slide_index, self.n_slides)


class CrossSlideHandler(_AfterWarmup):
    """Finds each slide's nearest slides and which prototype goes with which.

    Args:
        prototypes: the bank, just filled.
        warmup_epochs: as for :class:`ReclusterHandler`.
    """

    turn = Turn.MATCH
    clock = "matching_seconds"

    def work(self) -> dict[str, Any]:
        return self.prototypes.match()
