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
from ...networks import head_file, save_encoder, sha256_of, write_pretraining
from .run_state import EXPORTED
from .turn import Turn

_log = logging.getLogger(__name__)


class ExportHandler:
    """Writes a module's state dict when the run is complete; whether it can is looked at when the run starts.

    Weights that are there under that name, and are not of this very run, are kept under a dated one, with their
    ``.json`` and their head: said when the run starts, and when it is done.

    Args:
        module: the teacher's encoder (``models/model.pt``, a bare state dict, and its head in ``model_head.pt``, see
            :func:`~bundle.networks.save_encoder`), or its backbone (stage one).
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
        for path in self._files:
            if path.is_dir():
                raise BundleError(
                    f"model_path is {self.path}, and {path} is a folder; give the name of a file, such as model.pt."
                )
        for path in self._of_others()[:1]:
            text = "%s is there and not of this run: when this run is complete, it is kept as %s"
            _log.info(text, path, dated(path).name)

    def __call__(self, engine: Engine) -> None:
        assert self.path is not None
        others = self._of_others()
        with_it = (".json", *(path.name.removeprefix(self.path.stem) for path in others[1:]))
        kept = [keep_aside(path, with_it) for path in others[:1]]
        state = {name: tensor.detach().cpu().clone() for name, tensor in self.module.state_dict().items()}
        if self.envelope is None:
            save_encoder(state, self.path)
        else:
            save_atomically({"teacher": state, **self.envelope}, self.path)
        if self.slides is not None:
            write_pretraining(self.path, self.slides, self.about)
        elif self.path in others:
            self.path.with_suffix(".json").unlink(missing_ok=True)  # it tells of the others, and is kept with them
        if self.note is not None:
            hashes = {name: sha256_of(path) for path, name in self._files.items() if path.is_file()}
            write_text(self.note, json.dumps({"file": str(self.path.resolve()), **hashes}, indent=1) + "\n")
        before = f"; those of before are {kept[0].name}" if kept else ""
        _log.info("weights written to %s%s", self.path, before)

    @property
    def _files(self) -> dict[Path, str]:
        """What it writes, by the name of its SHA-256 in the run's note."""
        assert self.path is not None
        has_head = self.envelope is None and any(name.startswith("head.") for name in self.module.state_dict())
        return {self.path: "sha256"} | ({head_file(self.path): "head_sha256"} if has_head else {})

    def _of_others(self) -> list[Path]:
        """Files that are there, and that this run, or an earlier part of it, has not written: a head after its encoder,
        with which it is kept."""
        try:
            own = {} if self.note is None else dict(read_json_file(self.note))
        except (OSError, ValueError, TypeError):  # no note of this run
            own = {}
        return [path for path, name in self._files.items() if path.is_file() and own.get(name) != sha256_of(path)]
