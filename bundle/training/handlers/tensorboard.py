"""What TensorBoard shows of a run."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import ignite.distributed as idist
import numpy as np
from ignite.engine import Engine, Events
from torch.utils.tensorboard import SummaryWriter

from .turn import Turn

_log = logging.getLogger(__name__)


class Pictures(Protocol):
    """Gives name -> RGB uint8 [H, W, 3], and saves all of them in one PNG."""

    def __call__(self) -> dict[str, np.ndarray]: ...  # noqa: E704

    def save(self, path: str | Path) -> None: ...  # noqa: E704


class TensorBoardHandler:
    """Losses during the epoch; the whole record and pictures after it; ``prototypes.png`` at the end.

    Where nothing can be written (a full disk) it says so once and the run goes on without it.

    Args:
        log_dir: where the event files go.
        pictures: drawn every ``pictures_every`` epochs; None draws nothing.
        maps: as ``pictures``, for TensorBoard only (:class:`bundle.explore.AttentionPictures`).
        every: iterations between points of the losses (each waits for the device).
        pictures_every: epochs between pictures.
    """

    turn = Turn.REPORT

    def __init__(
        self,
        log_dir: str,
        pictures: Pictures | None = None,
        every: int = 20,
        pictures_every: int = 5,
        maps: Callable[[], dict[str, np.ndarray]] | None = None,
    ) -> None:
        self.log_dir = str(log_dir)
        self.pictures = pictures
        self.maps = maps
        self.every = int(every)
        self.pictures_every = int(pictures_every)
        self._writer: SummaryWriter | None = None

    def attach(self, engine: Engine) -> None:
        if idist.get_rank() != 0:
            return
        engine.add_event_handler(Events.STARTED, self._open)
        engine.add_event_handler(Events.ITERATION_COMPLETED(every=self.every), self._write_losses)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)
        engine.add_event_handler(Events.COMPLETED, self._close)

    def _open(self, engine: Engine) -> None:
        try:
            self._writer = SummaryWriter(self.log_dir, purge_step=engine.state.iteration + 1, flush_secs=30)
        except OSError as error:
            self._give_up(error)
        if engine.state.iteration == 0:  # the untrained encoder; a resumed run has told it
            self._write_record(engine)

    def _write_losses(self, engine: Engine) -> None:
        for name, value in engine.state.output.items():
            self._write("add_scalar", f"iteration/{name}", float(value), engine.state.iteration)

    def _write_record(self, engine: Engine) -> None:
        for name, value in engine.state.record.items():
            self._write("add_scalar", f"epoch/{name}", value, engine.state.iteration)

    def __call__(self, engine: Engine) -> None:
        self._write_record(engine)
        is_due = engine.state.epoch % self.pictures_every == 0 or engine.state.epoch == engine.state.max_epochs
        for draw in (self.pictures, self.maps):
            if draw is not None and is_due and self._writer is not None:
                for name, picture in draw().items():
                    self._write("add_image", name, picture, engine.state.iteration, dataformats="HWC")
        self._write("flush")  # a run that stops with an error closes nothing

    def _write(self, method: str, *arguments: Any, **options: Any) -> None:
        """Call the writer's method, as long as there is a writer."""
        if self._writer is None:
            return
        try:
            getattr(self._writer, method)(*arguments, **options)
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        _log.warning("TensorBoard's events in %s end here: %s", self.log_dir, error)
        self._writer = None

    def _close(self, engine: Engine) -> None:
        if self.pictures is not None:
            try:
                self.pictures.save(Path(self.log_dir) / "prototypes.png")
            except OSError as error:
                _log.warning("prototypes.png is not written: %s", error)
        self._write("close")
