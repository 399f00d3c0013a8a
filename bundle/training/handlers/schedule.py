"""Numbers that change over a run, as pure functions of the iteration."""

import math
from typing import Any

import torch
from ignite.engine import Engine, Events

from ...core import SettingError, as_number
from .turn import Turn

_RANGES = {"teacher_momentum": (0.0, 1.0), "teacher_temperature": (1e-4, 1e4)}  # of all others: 0 and more


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

    Raises:
        SettingError: a value outside its range; (at ``attach``) a run without an epoch.
    """

    turn = Turn.SCHEDULE

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
        low, high = _RANGES.get(name, (0.0, math.inf))
        self.start = as_number(start, f"{name} after its warm-up", low, high)
        self.end = as_number(end, f"{name} at the end", low, high)
        self.warmup_epochs = as_number(warmup_epochs, f"the warm-up of {name}, in epochs,", 0)
        self.warmup_start = as_number(
            warmup_start, f"{name} at the start", low if self.warmup_epochs else -math.inf, high
        )
        self.optimizer = optimizer
        self.decayed_only = decayed_only

    def attach(self, engine: Engine) -> None:
        if engine.state.max_epochs is not None and engine.state.max_epochs < 1:
            raise SettingError(f"max_epochs is {engine.state.max_epochs}; give a whole number of at least 1.")
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


def warmup_cosine(
    step: int, total: int, start: float, end: float, *, warmup: int = 0, warmup_start: float = 0.0
) -> float:
    """Ramp linearly from ``warmup_start`` to ``start``, then follow half a cosine to ``end``.

    The value is ``warmup_start`` at step 0 (if there is a warm-up), ``start`` at step ``warmup``, ``end`` at step
    ``total`` and from there on. Learning rate, weight decay and the teacher's momentum all follow it [1].

    Args:
        step: iterations (or epochs) done so far, at least 0.
        total: steps of the whole run, in the unit of ``step``.
        start: value at the end of the warm-up.
        end: value at ``total``.
        warmup: steps of the ramp, in the unit of ``step``; where it is longer than the run there is only a ramp.
        warmup_start: value at step 0.

    Raises:
        ValueError: a negative ``step`` or ``warmup``, or ``total`` below 1.

    References:
        [1] Caron et al., ICCV 2021, section 3.2.
    """
    if step < 0 or warmup < 0 or total < 1:
        raise ValueError(f"step and warmup must be >= 0 and total >= 1: got {step}, {warmup} and {total}.")
    if step < warmup:
        return warmup_start + (start - warmup_start) * step / warmup
    if step >= total:
        return end
    progress = (step - warmup) / (total - warmup)
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * progress))
