"""Checkpoints that survive a kill and a full disk, and the way back from them."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine, Events

from ..cohort import BundleError, as_bool
from ..weights import read_weights, save_atomically

LAST = "last.pt"
_log = logging.getLogger(__name__)


class CheckpointHandler:
    """Writes ``last.pt`` after every epoch, ``epoch_NNNN.pt`` every ``every`` epochs, ``best.pt`` when validation says so.

    A file is written under a temporary name and renamed, so that a kill or a full disk leaves the one before intact.
    Attach it after the handlers whose work it must contain.

    Args:
        output_dir: where the files go.
        objects: name -> object with ``state_dict`` and ``load_state_dict``.
        identity: numbers and words that must be equal for a resume to make sense.
        every: epochs between the checkpoints that are kept; 0 keeps none.
        evaluator: validation engine with a key metric, or None: then there is no ``best.pt``.
    """

    def __init__(
        self,
        output_dir: str | Path,
        objects: Mapping[str, Any],
        identity: Mapping[str, Any],
        every: int = 0,
        evaluator: Engine | None = None,
    ) -> None:
        self.output_dir = Path(output_dir)
        self.objects = dict(objects)
        self.identity = dict(identity)
        self.every = int(every)
        self.evaluator = evaluator

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        if idist.get_rank() == 0:
            for name in self._due(engine):
                save_atomically(self._contents(engine), self.output_dir / name)
        idist.barrier()

    def _due(self, engine: Engine) -> list[str]:
        epoch = engine.state.epoch
        names = [LAST]
        if self.every and epoch % self.every == 0:
            names.append(f"epoch_{epoch:04d}.pt")
        if self.evaluator is not None and self.evaluator.state.best_metric_epoch == epoch:
            names.append("best.pt")
        return names

    def _contents(self, engine: Engine) -> dict[str, Any]:
        best = {}
        if self.evaluator is not None:
            state = self.evaluator.state
            best = {"metric": float(state.best_metric), "epoch": int(state.best_metric_epoch)}
        return {
            "trainer": {"epoch": engine.state.epoch, "iteration": engine.state.iteration},
            "identity": self.identity,
            "best": best,
            **{name: thing.state_dict() for name, thing in self.objects.items()},
        }


class ResumeHandler:
    """At the start of a run: goes on from ``last.pt`` if asked to, and otherwise refuses to write over a run.

    Attach it first, so that every other handler sees the state that was resumed.

    Args:
        checkpoint: the handler that writes the files; it knows what is in them.
        resume: go on from ``last.pt``; without such a file the run starts from its beginning.
    """

    def __init__(self, checkpoint: CheckpointHandler, resume: bool = False) -> None:
        self.checkpoint = checkpoint
        self.resume = as_bool(resume)

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine) -> None:
        path = self.checkpoint.output_dir / LAST
        if not path.exists():
            if self.resume:
                _log.info("nothing to resume in %s: starting from the beginning", self.checkpoint.output_dir)
            return
        saved = read_weights(path)
        if not self.resume:
            raise BundleError(
                f"{path} holds a run that got to epoch {saved['trainer']['epoch']}: pass --resume true to go on with it, "
                "or another --output_dir to start a new one."
            )
        self._check_identity(saved, path)
        self._load(engine, saved, path)

    def _check_identity(self, saved: Mapping[str, Any], path: Path) -> None:
        then, now = saved.get("identity", {}), self.checkpoint.identity
        changed = [f"{k}: {then.get(k)!r} then, {now.get(k)!r} now" for k in now if then.get(k) != now.get(k)]
        if changed:
            raise BundleError(
                f"{path} cannot be resumed, the run has changed: {'; '.join(changed)}. "
                "Restore these, or start a new run with another --output_dir."
            )

    def _load(self, engine: Engine, saved: Mapping[str, Any], path: Path) -> None:
        for name, thing in self.checkpoint.objects.items():
            try:
                thing.load_state_dict(saved[name])
            except (KeyError, RuntimeError, ValueError) as error:
                raise BundleError(
                    f"{path} is of another architecture: {name} does not fit ({_first_line(error)}). "
                    "Start with the settings of that run, or a new run with another --output_dir."
                ) from error
        engine.state.epoch = saved["trainer"]["epoch"]
        engine.state.iteration = saved["trainer"]["iteration"]
        if self.checkpoint.evaluator is not None and saved["best"]:
            self.checkpoint.evaluator.state.best_metric = saved["best"]["metric"]
            self.checkpoint.evaluator.state.best_metric_epoch = saved["best"]["epoch"]
        if engine.state.epoch >= engine.state.max_epochs:
            _log.info("%s is finished: epoch %d of %d", path, engine.state.epoch, engine.state.max_epochs)
        else:
            _log.info("resumed %s after epoch %d of %d", path, engine.state.epoch, engine.state.max_epochs)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:300]
