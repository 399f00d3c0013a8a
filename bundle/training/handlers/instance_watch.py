"""Sees when training tells single regions apart, by what is each region's own and nobody else's, and says so."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from torch import Tensor

from ...parallel import rows_of_ranks, sum_over_ranks
from .midway import gather
from .turn import Turn

_log = logging.getLogger(__name__)
# Planted cohorts, batches of 32: .78 of crops find their region at a loss of .19 log(out_dim) where each region has a
# shift of its own that views keep, and the class is not learned; .25 at most where views hide it, and it is. The cosine
# of other regions tells little: bottlenecks may all lie near .9.
_LOW_LOSS = 0.2  # share of log(out_dim): what is left when regions have outputs of their own
_SURE = 0.75  # accuracy
_PATIENCE = 3  # epochs in a row


def instance_statistics(student: Tensor, teacher: Tensor) -> Tensor:
    """Do crops of a region find each other in a batch, and has a region anybody beside itself?

    They are looked for among the regions of all ranks. Crops are the student's views but the first, which is the
    teacher's own crop (that one, where it is the only one).

    Args:
        student: bottlenecks of unit length, [S, B, d].
        teacher: [T, B, d]; the first view counts.

    Returns:
        [2]: share of crops whose most similar region, by the teacher's view of it, is their own; cosine of a crop with
        the most similar of the others, mean over crops. NaN where there are no others.
    """
    crops = student[1:] if len(student) > 1 else student
    found = rows_of_ranks(teacher[0].detach().float())
    cosines = (crops.detach().float() @ found.rows.T).masked_fill(~found.valid, -torch.inf)
    own = cosines[..., idist.get_rank() :: idist.get_world_size()].diagonal(dim1=1, dim2=2)  # a view
    own_cosines = own.clone()
    own.fill_(-torch.inf)
    others = cosines.amax(2)
    others = others.where(others.isfinite(), torch.nan)
    return torch.stack([(own_cosines > others).float().where(others.isfinite(), torch.nan).mean(), others.mean()])


class InstanceHandler:
    """Puts ``instance_accuracy`` and ``other_similarity`` (:func:`instance_statistics`) into the epoch's record.

    They are means over some steps of an epoch, the first one included. No forward pass comes with them and, of one
    process, no wait for the device.

    Args:
        every: steps from one look to the next.
    """

    turn = Turn.MEASURE

    def __init__(self, every: int = 8) -> None:
        self.every = int(every)
        self._gathered: dict[str, Any] = {}

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._look)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def _start(self, engine: Engine) -> None:
        self._gathered = gather(engine, "instance", looks=[], n_steps=0)

    def _look(self, engine: Engine) -> None:
        if self._gathered["n_steps"] % self.every == 0:
            student, teacher = engine.state.bottlenecks
            look, n_own = instance_statistics(student, teacher), student.shape[1]
            self._gathered["looks"].append(sum_over_ranks(torch.cat([look * n_own, look.new_full((1,), n_own)])))
        self._gathered["n_steps"] += 1

    def __call__(self, engine: Engine) -> None:
        looks = torch.stack(self._gathered["looks"])
        accuracy, similarity = (looks[:, :2] / looks[:, 2:]).mean(0).tolist()
        engine.state.measured = {"instance_accuracy": accuracy, "other_similarity": similarity}


class InstanceWatch:
    """Warns, once, when for some epochs most crops have found their own region at a low loss.

    Args:
        out_dim: width of the last layer; ``log(out_dim)`` is the loss of a student that knows nothing.
    """

    def __init__(self, out_dim: int) -> None:
        self.low_loss = _LOW_LOSS * math.log(out_dim)
        self.n_epochs, self.has_warned = 0, False

    def __call__(self, record: Mapping[str, float]) -> None:
        """Look at an epoch's record; one without the statistics says nothing."""
        accuracy, similarity = (record.get(name, math.nan) for name in ("instance_accuracy", "other_similarity"))
        is_one = accuracy > _SURE and record.get("self", math.nan) < self.low_loss
        self.n_epochs = self.n_epochs + 1 if is_one else 0
        if self.n_epochs < _PATIENCE or self.has_warned:
            return
        self.has_warned = True
        _log.warning(
            "training tells single regions apart (instance identification): for %d epochs %.1f %% of crops have found "
            "their own region, at a loss of %.2g, while the nearest other region is at a cosine of %.2f. Something is "
            "each region's own: its outline (mask_missing true, or fill_missing tissue), or focus, thickness and local "
            "stain (token_shift region or both, token_shift_strength 3). Or there are too few regions for so many "
            "epochs. Embeddings will say little of the tissue; see docs/equations.md.",
            self.n_epochs,
            100 * accuracy,
            record["self"],
            similarity,
        )
