"""Weights in the form in which others load them."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine, Events
from torch import nn

from ...core import BundleError, check_folder, save_atomically
from ...networks import write_pretraining
from .turn import Turn

_log = logging.getLogger(__name__)


class ExportHandler:
    """Writes a module's state dict when the run is complete; whether it can is looked at when the run starts.

    Args:
        module: the teacher's encoder (``models/model.pt``, a bare state dict), or its backbone (stage one).
        path: where it goes; None exports nothing.
        envelope: further entries (architecture, normalization): the state dict then lies under ``teacher`` beside them.
        slides: ids of the slides it was trained on: they go into a .json beside ``path``, by which an evaluation sees
            whether it tests on them.
        about: what else goes into that file, see :func:`~bundle.networks.write_pretraining`.
    """

    turn = Turn.EXPORT

    def __init__(
        self,
        module: nn.Module,
        path: str | Path | None,
        envelope: Mapping[str, Any] | None = None,
        slides: Sequence[str] | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        self.module = module
        self.path = None if path is None else Path(path)
        self.envelope = envelope
        self.slides, self.about = slides, about

    def attach(self, engine: Engine) -> None:
        if self.path is not None and idist.get_rank() == 0:
            engine.add_event_handler(Events.STARTED, self._check)
            engine.add_event_handler(Events.COMPLETED, self)

    def _check(self, engine: Engine) -> None:
        assert self.path is not None
        check_folder(self.path.parent, "the trained weights", "model_path")
        if self.path.is_dir():
            raise BundleError(f"model_path is the folder {self.path}; give the name of a file, such as model.pt.")

    def __call__(self, engine: Engine) -> None:
        assert self.path is not None
        state = {name: tensor.detach().cpu().clone() for name, tensor in self.module.state_dict().items()}
        save_atomically(state if self.envelope is None else {"teacher": state, **self.envelope}, self.path)
        if self.slides is not None:
            write_pretraining(self.path, self.slides, self.about)
        _log.info("weights written to %s", self.path)
