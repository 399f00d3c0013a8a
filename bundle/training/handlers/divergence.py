"""Stops a run that can no longer become anything, and says what to try."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import nn

from ...core import BundleError
from ...parallel import sum_over_ranks
from .instance_watch import InstanceWatch
from .left_out import LeftOut
from .run_state import RunState
from .softening import SofteningWatch
from .turn import Turn

_PATIENCE = 3  # collapsed epochs in a row before the run is stopped
_MIN_SPREAD = 1e-5  # in [0, 1]; below it is collapse
_MIN_ENTROPY, _MAX_ENTROPY = 1e-4, 0.99999  # shares of a uniform teacher's; outside is collapse
_EVERY = 50  # iterations between looks at the loss on a GPU: each look waits for the device
_MOST_NAMED = 16  # regions of a batch
_TRY = (
    "Try a lower --lr, a longer --lr_warmup_epochs, a larger --batch_size; if it persists, look whether the input "
    "holds what it should. last.pt is of before; after a collapse, epoch_NNNN.pt may be healthier."
)


def has_finite_weights(network: nn.Module) -> bool:
    """No parameter is NaN or infinite; waits for the device."""
    return all(bool(parameter.isfinite().all()) for parameter in network.parameters())


class DivergenceHandler:
    """Raises when the loss is not finite, or when the teacher has collapsed for some epochs in a row.

    Collapse has three faces, all seen in the epoch's record: the teacher gives every region the same vector
    (``teacher_spread``), puts all probability on one output, or the same on all (``teacher_entropy``). What is less
    than a collapse is named once, in a warning, by its watches.

    Args:
        out_dim: width of the last layer; ``log(out_dim)`` is the entropy of a uniform teacher.
        network: its weights are looked at after every epoch, before they are saved.
        dataset: its ``region_names`` tell whose regions were in the batch; None: they are not named.
        run_state: a resumed run goes on without the batches at which the loss was not finite (:class:`LeftOut`); None:
            it meets them again.
        nan_retries: how often.
    """

    turn = Turn.JUDGE

    def __init__(
        self,
        out_dim: int,
        network: nn.Module | None = None,
        dataset: Any = None,
        run_state: RunState | None = None,
        nan_retries: int = 1,
    ) -> None:
        self.network, self.dataset = network, dataset
        self.left_out = None if run_state is None else LeftOut(run_state, nan_retries)
        self._last_good = 0  # iteration; what spoils the weights may be the step after a loss that is finite
        self.out_dim = int(out_dim)
        self.collapsed_epochs = 0
        # warn of what does not stop a run
        self.watches: list[Callable[[Mapping[str, float]], None]] = [
            InstanceWatch(self.out_dim),
            SofteningWatch(self.out_dim),
        ]

    def attach(self, engine: Engine) -> None:
        every = 1 if torch.device(engine.state.device).type == "cpu" else _EVERY
        engine.add_event_handler(Events.ITERATION_COMPLETED(every=every), self._check_loss)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)
        engine.add_event_handler(Events.STARTED, self._start)

    def _start(self, engine: Engine) -> None:
        self._last_good = engine.state.iteration
        if self.left_out is not None:
            self.left_out.apply(engine)

    def _check_loss(self, engine: Engine) -> None:
        loss = float(sum_over_ranks(engine.state.output["loss"]))  # all ranks stop, or none
        if not math.isfinite(loss):
            raise self._lost(
                engine,
                f"the loss is {loss} at iteration {engine.state.iteration} (epoch {engine.state.epoch})"
                f"{self._whose(engine.state.batch)}",
            )
        self._last_good = engine.state.iteration

    def _lost(self, engine: Engine, what: str) -> BundleError:
        """To be raised: what is not finite, and what a resumed run will do about it."""
        again = "" if self.left_out is None else self.left_out.add(max(1, self._last_good), engine.state.iteration)
        return BundleError(f"{what}. {again}{_TRY}")

    def _whose(self, batch: Any) -> str:
        """The regions of a batch, in words."""
        if self.dataset is None or not isinstance(batch, Mapping) or "region_id" not in batch:
            return ""
        names = self.dataset.region_names(batch["region_id"].tolist())
        others = f" and {len(names) - _MOST_NAMED} others" if len(names) > _MOST_NAMED else ""
        return f", noticed with the batch of {', '.join(names[:_MOST_NAMED])}{others}"

    def __call__(self, engine: Engine) -> None:
        record = engine.state.record
        if not math.isfinite(record["loss"]):
            raise self._lost(engine, f"the loss was not finite somewhere in epoch {engine.state.epoch}")
        if self.network is not None and not has_finite_weights(self.network):
            raise self._lost(engine, f"the weights are not finite after epoch {engine.state.epoch}")
        for watch in self.watches:
            watch(record)
        entropy = record["teacher_entropy"] / math.log(self.out_dim)
        is_collapsed = record["teacher_spread"] < _MIN_SPREAD or not _MIN_ENTROPY <= entropy <= _MAX_ENTROPY
        self.collapsed_epochs = self.collapsed_epochs + 1 if is_collapsed else 0
        if self.collapsed_epochs >= _PATIENCE:
            raise BundleError(
                f"the teacher has collapsed for {self.collapsed_epochs} epochs: spread {record['teacher_spread']:.1e} "
                f"(0 = all regions alike), entropy {entropy:.2%} of a uniform teacher's. {_TRY}"
            )
