"""A run that is told to end, or that has long not been written down, is saved within its epoch."""

from __future__ import annotations

import logging
import math
import signal
import threading
import time
from functools import partial
from types import FrameType
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from torch import nn

from ...core import ENDING, as_number
from ...parallel import sum_over_ranks, want_workers
from .divergence import has_finite_weights
from .ending import when_over
from .midway import is_midway
from .run_state import RunState
from .turn import Turn

_log = logging.getLogger(__name__)
_EVERY = 10  # iterations between agreements of several processes, each of which waits for the device


class StopHandler:
    """Writes ``last.pt`` within an epoch, from where ``--resume true`` gives what the unbroken run would have given.

    On SIGTERM or SIGUSR1 (what Slurm and Kubernetes send before they kill) the run is saved after the iteration that is
    under way and the process ends with status 128 + signal; with several processes after at most 10 iterations, on
    whichever of them it came. What is not finite is not written. The last epoch's end is no place to stop: the weights
    are exported first, and whoever listened before hears the signal then.

    Args:
        run_state: what is written.
        checkpoint_minutes: a run that has not been written down for so long is, within an epoch; 0: at epochs' ends
            alone.
    """

    turn = Turn.STOP

    def __init__(self, run_state: RunState, checkpoint_minutes: float = 30) -> None:
        self.run_state = run_state
        self.seconds = 60 * as_number(checkpoint_minutes, "checkpoint_minutes", 0)
        self.signal = 0  # that was heard
        self._saved_at = 0.0
        self._before: dict[int, Any] = {}

    def attach(self, engine: Engine) -> None:
        """Listen from the start to the end of the run."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._end_epoch)

    def __call__(self, engine: Engine) -> None:
        """After an iteration; the last one of an epoch is its handlers' business."""
        is_alone = idist.get_world_size() == 1
        if not is_midway(engine) or (not is_alone and engine.state.iteration % _EVERY):
            return
        told, is_due = self._agreed(engine)
        if (told or is_due) and self._is_sound(engine):
            self.run_state.save(engine, self.run_state.last.name)
            self._saved_at = time.monotonic()
        if told:
            self._stop(engine)

    def _agreed(self, engine: Engine) -> tuple[bool, bool]:
        """Told to stop, due to be saved: on any rank."""
        is_due = 0 < self.seconds < time.monotonic() - self._saved_at
        if idist.get_world_size() == 1:
            return bool(self.signal), is_due
        wishes = torch.tensor([self.signal > 0, is_due], dtype=torch.float32, device=engine.state.device)
        told, due = sum_over_ranks(wishes).tolist()
        return told > 0, due > 0

    def _is_sound(self, engine: Engine) -> bool:
        """The same on all ranks: loss and weights are."""
        networks = [thing for thing in self.run_state.objects.values() if isinstance(thing, nn.Module)]
        return math.isfinite(float(engine.state.output["loss"])) and all(map(has_finite_weights, networks))

    def _end(self, engine: Engine, error: BaseException | None) -> None:
        want_workers(False)
        while self._before:
            signal.signal(*self._before.popitem())
        if error is None and self.signal and callable(signal.getsignal(self.signal)):
            signal.raise_signal(self.signal)

    def _start(self, engine: Engine) -> None:
        self.signal, self._saved_at = 0, time.monotonic()
        if threading.current_thread() is threading.main_thread():  # no other may listen
            self._before = {number: signal.signal(number, self._hear) for number in ENDING}
            when_over(engine, partial(self._end, engine))
            want_workers(True)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self.signal = number

    def _end_epoch(self, engine: Engine) -> None:
        """It has been written down, and every process is here."""
        self._saved_at = time.monotonic()
        if engine.state.epoch < engine.state.max_epochs and self._agreed(engine)[0]:
            self._stop(engine)

    def _stop(self, engine: Engine) -> None:
        number = self.signal or signal.SIGTERM
        done = engine.state.iteration - engine.state.epoch_length * (engine.state.epoch - 1)
        last = self.run_state.last
        _log.warning(
            "stopped by %s after iteration %d of %d in epoch %d of %d. %s",
            signal.Signals(number).name,
            done,
            engine.state.epoch_length,
            engine.state.epoch,
            engine.state.max_epochs,
            f"{last} is there to go on from: the same command, training with --resume true."
            if last.exists()
            else "Nothing had been written down yet.",
        )
        raise SystemExit(128 + number)
