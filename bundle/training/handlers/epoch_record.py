"""One dictionary an epoch with all that is worth knowing of it."""

import math
import time
from typing import Any

import torch
from ignite.engine import Engine, Events

from .midway import gather, is_midway
from .turn import Turn

_LARGEST_EXPONENT = 700.0  # e to it is still a double


class EpochRecordHandler:
    """Collects ``engine.state.record`` at the end of an epoch: mean of each output, schedules, prototypes, validation.

    Beside each ``x_entropy`` of targets stands ``x_outputs`` = exp(entropy), the number of outputs that they use.

    Sums stay on the device, so that iterations cost no host synchronization. ``seconds`` are those of the last sitting.

    Args:
        evaluator: validation engine whose metrics are added when it ran in this epoch.
    """

    turn = Turn.RECORD

    def __init__(self, evaluator: Engine | None = None) -> None:
        self.evaluator = evaluator
        self._gathered: dict[str, Any] = {}
        self._started = 0.0

    def attach(self, engine: Engine) -> None:
        engine.state.record = {}
        engine.add_event_handler(Events.STARTED, self._measure_untrained)
        engine.add_event_handler(Events.EPOCH_STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def _measure_untrained(self, engine: Engine) -> None:
        """Record the evaluator's metrics before the first iteration, as epoch 0: what training has to beat."""
        if self.evaluator is None or engine.state.epoch > 0 or is_midway(engine):
            return
        self.evaluator.run()
        engine.state.record = {"epoch": 0, **_numbers(self.evaluator.state.metrics)}
        state = self.evaluator.state
        state.epoch, state.best_metric, state.best_metric_epoch = 0, -1, -1  # it has not validated an epoch yet

    def _start(self, engine: Engine) -> None:
        self._gathered, self._started = gather(engine, "record", sums={}, n=0), time.perf_counter()

    def _add(self, engine: Engine) -> None:
        output, sums = engine.state.output, self._gathered["sums"]
        known = [name for name in output if name in sums]
        if known:
            torch._foreach_add_([sums[name] for name in known], [output[name] for name in known])
        sums |= {name: value.clone() for name, value in output.items() if name not in sums}
        self._gathered["n"] += 1

    def __call__(self, engine: Engine) -> None:
        record: dict[str, Any] = {"epoch": engine.state.epoch}
        record |= {name: float(total) / self._gathered["n"] for name, total in self._gathered["sums"].items()}
        record |= {_outputs(name): _exp(value) for name, value in record.items() if name.endswith("_entropy")}
        record |= getattr(engine.state, "schedules", {})
        record |= _numbers(getattr(engine.state, "prototype_stats", {}))
        record |= _numbers(getattr(engine.state, "measured", {}))
        if self.evaluator is not None and self.evaluator.state.epoch == engine.state.epoch:
            record |= _numbers(self.evaluator.state.metrics)
        record["seconds"] = time.perf_counter() - self._started
        engine.state.record = record


def _outputs(entropy: str) -> str:
    return entropy.replace("_entropy", "_outputs")


def _numbers(values: dict[str, Any]) -> dict[str, float]:
    return {name: value for name, value in values.items() if isinstance(value, int | float)}


def _exp(value: float) -> float:
    """Infinity where it is too large: a run that has diverged is stopped with its own message."""
    return math.inf if value > _LARGEST_EXPONENT else math.exp(value)
