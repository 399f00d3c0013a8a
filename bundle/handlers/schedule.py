"""Numbers that change over a run, as pure functions of the iteration."""

from typing import Any

import torch
from ignite.engine import Engine, Events

from ..functional import warmup_cosine


class ScheduleHandler:
    """Sets one number at the start of every iteration: linear warm-up, then a cosine to its end.

    The value depends on the iteration alone, so a resumed run needs no state of it. It is written to
    ``engine.state.<name>``, or to the parameter groups of ``optimizer``, and noted in ``engine.state.schedules``.

    Args:
        name: of the number: ``lr``, ``weight_decay``, ``teacher_momentum``, ``teacher_temperature``.
        start: value after the warm-up.
        end: value after the last iteration.
        warmup_epochs: epochs of linear warm-up.
        warmup_start: value at the first iteration of the warm-up.
        optimizer: whose groups get the value; None: the engine's state.
        decayed_only: leave groups alone that ``make_optimizer`` marked as not decayed.
    """

    def __init__(
        self,
        name: str,
        start: float,
        end: float,
        warmup_epochs: float = 0,
        warmup_start: float = 0.0,
        optimizer: torch.optim.Optimizer | None = None,
        decayed_only: bool = False,
    ) -> None:
        self.name = name
        self.start = float(start)
        self.end = float(end)
        self.warmup_epochs = float(warmup_epochs)
        self.warmup_start = float(warmup_start)
        self.optimizer = optimizer
        self.decayed_only = decayed_only

    def attach(self, engine: Engine) -> None:
        if not hasattr(engine.state, "schedules"):
            engine.state.schedules = {}
        engine.add_event_handler(Events.ITERATION_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        value = self.value_at(engine.state.iteration - 1, engine.state)
        engine.state.schedules[self.name] = value
        if self.optimizer is None:
            setattr(engine.state, self.name, value)
            return
        for group in self.optimizer.param_groups:
            if group.get("decays", True) or not self.decayed_only:
                group[self.name] = value

    def value_at(self, step: int, state: Any) -> float:
        """Value at iteration ``step``, counted from 0 over the whole run."""
        total = state.epoch_length * state.max_epochs
        warmup = round(self.warmup_epochs * state.epoch_length)
        return warmup_cosine(step, total, self.start, self.end, warmup=warmup, warmup_start=self.warmup_start)
