"""Prototypes come in step by step."""

from typing import Any

from ignite.engine import Engine, Events

from ...core import as_number
from .turn import Turn


class PrototypeRampHandler:
    """Lets the weights of both prototype terms grow linearly from 0 after the warm-up.

    Of the steps i = 0, 1, ... after the warm-up each has the share ``min(1, i / (ramp_epochs * steps of an epoch))`` of
    the weights. It depends on the iteration alone, so a resumed run needs no state of it.

    Args:
        loss_function: whose ``prototype_share`` is set at the start of every iteration, also in ``state.schedules``.
        prototype_warmup_epochs: epochs of plain DINO before the first clustering.
        prototype_ramp_epochs: epochs of the ramp; 0: the whole weights at once, and nothing is set.
    """

    turn = Turn.SCHEDULE

    def __init__(self, loss_function: Any, prototype_warmup_epochs: float, prototype_ramp_epochs: float = 0) -> None:
        self.loss_function = loss_function
        self.warmup_epochs = as_number(prototype_warmup_epochs, "prototype_warmup_epochs", 0)
        self.ramp_epochs = as_number(prototype_ramp_epochs, "prototype_ramp_epochs", 0)

    def attach(self, engine: Engine) -> None:
        """Fire before every iteration, if there is a ramp."""
        if self.ramp_epochs == 0:
            return
        if not hasattr(engine.state, "schedules"):
            engine.state.schedules = {}
        engine.add_event_handler(Events.ITERATION_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        share = self.share_at(engine.state.iteration - 1, engine.state.epoch_length)
        self.loss_function.prototype_share = engine.state.schedules["prototype_share"] = share

    def share_at(self, step: int, epoch_length: int) -> float:
        """Share of the weights at iteration ``step``, counted from 0 over the whole run."""
        done = step / epoch_length - self.warmup_epochs
        return min(1.0, max(0.0, done / self.ramp_epochs))
