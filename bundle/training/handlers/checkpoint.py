"""When a run is written down, and when it is taken up again."""

import logging

from ignite.engine import Engine, Events

from ...core import BundleError, as_bool, as_whole
from .ending import when_over
from .run_state import RunState
from .turn import Turn

_log = logging.getLogger(__name__)


class CheckpointHandler:
    """Writes ``last.pt`` after every epoch, ``epoch_NNNN.pt`` every so many, ``best.pt`` when validation says so.

    Args:
        run_state: what is written.
        every: epochs between the checkpoints that are kept; 0 keeps none.
    """

    turn = Turn.SAVE

    def __init__(self, run_state: RunState, every: int = 0) -> None:
        self.run_state = run_state
        self.every = as_whole(every, "checkpoint_interval")

    def attach(self, engine: Engine) -> None:
        """Fire after every epoch."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        self.run_state.save(engine, *self._due(engine))

    def _due(self, engine: Engine) -> list[str]:
        """Names of this epoch's files; ``last.pt`` comes last, so that a run never goes on past a missing one."""
        epoch, evaluator = engine.state.epoch, self.run_state.evaluator
        names = []
        if self.every and epoch % self.every == 0:
            names.append(f"epoch_{epoch:04d}.pt")
        if evaluator is not None and evaluator.state.best_metric_epoch == epoch:
            names.append("best.pt")
        return [*names, self.run_state.last.name]


class ResumeHandler:
    """At the start of a run: goes on from ``last.pt`` if asked to, and otherwise refuses to write over a run.

    Until the run is over nobody else can write to its folder.

    Args:
        run_state: what is read.
        resume: go on from ``last.pt``; without such a file the run starts from its beginning.
    """

    turn = Turn.RESUME

    def __init__(self, run_state: RunState, resume: bool = False) -> None:
        self.run_state = run_state
        self.resume = as_bool(resume)

    def attach(self, engine: Engine) -> None:
        """Fire before the first epoch."""
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine) -> None:
        self.run_state.check_writable()
        self.run_state.lock()
        when_over(engine, lambda error: self.run_state.unlock())
        path = self.run_state.last
        has_run = path.exists()  # seen by every rank before the first one can write
        self.run_state.check_ranks()
        if not has_run:
            if self.resume:
                _log.info("nothing to resume in %s: starting from the beginning", self.run_state.output_dir)
            self.run_state.begin()
            return
        if not self.resume:
            raise BundleError(
                f"{path} holds a run: pass --resume true to go on with it, or another --output_dir to start a new one."
            )
        self.run_state.load(engine)
        state = engine.state
        done = "finished" if state.epoch >= state.max_epochs else "resumed"
        begun = state.iteration - state.epoch * (state.epoch_length or 0)
        more = f", and {begun} of {state.epoch_length} iterations of the next one" if begun > 0 else ""
        _log.info("%s %s: epoch %d of %d is done%s", done, path, state.epoch, state.max_epochs, more)
