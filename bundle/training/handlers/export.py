"""Weights in the form in which others load them."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine, Events
from torch import nn

from ...core import BundleError, check_folder, dated, keep_aside, read_json_file, save_atomically, write_text
from ...networks import sha256_of, write_pretraining
from .run_state import EXPORTED
from .turn import Turn

_log = logging.getLogger(__name__)


class ExportHandler:
    """Writes a module's state dict when the run is complete; whether it can is looked at when the run starts.

    Weights that are there under that name, and are not of this very run, are kept under a dated one, with their
    ``.json``: said when the run starts, and when it is done.

    Args:
        module: the teacher's encoder (``models/model.pt``, a bare state dict), or its backbone (stage one).
        path: where it goes; None exports nothing.
        envelope: further entries (architecture, normalization): the state dict then lies under ``teacher`` beside them.
        slides: ids of the slides it was trained on: they go into a .json beside ``path``, by which an evaluation sees
            whether it tests on them.
        about: what else goes into that file, see :func:`~bundle.networks.write_pretraining`.
        output_dir: of the run, where it notes which weights are its own; None: it never has any yet.
    """

    turn = Turn.EXPORT

    def __init__(
        self,
        module: nn.Module,
        path: str | Path | None,
        envelope: Mapping[str, Any] | None = None,
        slides: Sequence[str] | None = None,
        about: Mapping[str, Any] | None = None,
        output_dir: str | Path | None = None,
    ) -> None:
        self.module = module
        self.path = None if path is None else Path(path)
        self.envelope = envelope
        self.slides, self.about = slides, about
        self.note = None if output_dir is None else Path(output_dir) / EXPORTED

    def attach(self, engine: Engine) -> None:
        if self.path is not None and idist.get_rank() == 0:
            engine.add_event_handler(Events.STARTED, self._check)
            engine.add_event_handler(Events.COMPLETED, self)

    def _check(self, engine: Engine) -> None:
        assert self.path is not None
        check_folder(self.path.parent, "the trained weights", "model_path")
        if self.path.is_dir():
            raise BundleError(f"model_path is the folder {self.path}; give the name of a file, such as model.pt.")
        if self._is_of_others():
            text = "%s is there and not of this run: when this run is complete, it is kept as %s"
            _log.info(text, self.path, dated(self.path).name)

    def __call__(self, engine: Engine) -> None:
        assert self.path is not None
        aside = keep_aside(self.path) if self._is_of_others() else None
        state = {name: tensor.detach().cpu().clone() for name, tensor in self.module.state_dict().items()}
        save_atomically(state if self.envelope is None else {"teacher": state, **self.envelope}, self.path)
        if self.slides is not None:
            write_pretraining(self.path, self.slides, self.about)
        elif aside is not None:
            self.path.with_suffix(".json").unlink(missing_ok=True)  # it tells of the others, and is kept with them
        if self.note is not None:
            note = {"file": str(self.path.resolve()), "sha256": sha256_of(self.path)}
            write_text(self.note, json.dumps(note, indent=1) + "\n")
        _log.info("weights written to %s%s", self.path, "" if aside is None else f"; those of before are {aside.name}")

    def _is_of_others(self) -> bool:
        """A file is there that this run, or an earlier part of it, has not written."""
        assert self.path is not None
        if not self.path.is_file():
            return False
        try:
            own = {} if self.note is None else read_json_file(self.note)
            return bool(own["sha256"] != sha256_of(self.path))
        except (OSError, ValueError, KeyError, TypeError):  # no note of this run
            return True
