"""What a run is made of, as a file and back."""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine

from ...core import BundleError, check_folder, link_atomically, meeting, save_atomically, writer_lock
from ...networks import read_weights
from ...parallel import on_first_rank
from .midway import midway_state, restore_midway

LEFT_OUT = "left_out.json"  # iterations that a resumed run does without
EXPORTED = "exported.json"  # which weights a run has written
_LATER = {"which_patches"}  # that runs of before did not write down; whatever it was then, they go on


class RunState:
    """All that a run needs to go on, and what must be equal for that to make sense.

    Args:
        output_dir: where its files go.
        objects: name -> object with ``state_dict`` and ``load_state_dict``.
        identity: numbers and words that must not change between the runs.
        evaluator: validation engine with a key metric, or None.
    """

    def __init__(
        self,
        output_dir: str | Path,
        objects: Mapping[str, Any],
        identity: Mapping[str, Any],
        evaluator: Engine | None = None,
    ) -> None:
        self.output_dir = Path(output_dir)
        self.objects = dict(objects)
        self.identity = dict(identity)
        self.evaluator = evaluator
        self._held = ExitStack()

    @property
    def last(self) -> Path:
        """The file of the last complete epoch, or of a later moment at which the run was told to stop."""
        return self.output_dir / "last.pt"

    def check_writable(self) -> None:
        """Make the folder, and make sure that files can be written there; rank 0 tries, all ranks learn of it.

        Raises:
            BundleError: they cannot, or another machine does not see them; on every rank.
        """
        on_first_rank(partial(check_folder, self.output_dir, "checkpoints", "output_dir"))
        if (together := meeting()) is not None:
            together.insist_on_shared(self.output_dir, "checkpoints", "output_dir")

    def lock(self) -> None:
        """Be the only run in the folder until :meth:`unlock`, or until this process ends; rank 0 is for all.

        Raises:
            BundleError: another process writes there; on every rank.
        """
        on_first_rank(lambda: self._held.enter_context(writer_lock(self.output_dir, "run", "output_dir")))

    def unlock(self) -> None:
        """Let others write to the folder."""
        self._held.close()

    def begin(self) -> None:
        """Remove what a run of before has noted for its own going on, which this one is not.

        Raises:
            BundleError: it cannot be removed; on every rank.
        """
        on_first_rank(self._forget)

    def _forget(self) -> None:
        for path in (self.output_dir / LEFT_OUT, self.output_dir / EXPORTED):
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise BundleError(
                    f"{path} is of a run of before and cannot be removed ({error.strerror}): remove it, or choose "
                    "another --output_dir."
                ) from error

    def check_ranks(self) -> None:
        """Make sure that all processes have the same identity: a rank that could not read a file has other regions.

        Raises:
            BundleError: they have not; on every rank, before the first of them waits for another.
        """
        if idist.get_world_size() == 1:
            return
        mine = hashlib.sha256(repr(sorted(self.identity.items())).encode()).hexdigest()
        differing = [rank for rank, other in enumerate(idist.all_gather(mine)) if other != mine]
        if differing:
            raise BundleError(
                f"process {idist.get_rank()} has other input or settings than process {differing[0]}: "
                f"{self.identity}. Make sure that every machine reads the same files (the warnings above name those "
                "that could not be read), and start again."
            )

    def save(self, engine: Engine, *names: str) -> None:
        """Write ``output_dir/name`` for each name, with the same contents, on rank 0; the other ranks wait for it.

        Each file appears under its name when it is complete: a kill or a full disk spares the file of before.

        Raises:
            BundleError: a file cannot be written; on every rank.
        """
        on_first_rank(lambda: self._write(engine, [self.output_dir / name for name in names]))

    def _write(self, engine: Engine, paths: Sequence[Path]) -> None:
        save_atomically(self._contents(engine), paths[0])
        for path in paths[1:]:
            link_atomically(paths[0], path)

    def _contents(self, engine: Engine) -> dict[str, Any]:
        best, iteration = {}, engine.state.iteration
        if self.evaluator is not None:
            state = self.evaluator.state
            best = {"metric": float(state.best_metric), "epoch": int(state.best_metric_epoch)}
        return {
            "trainer": {"epoch": iteration // engine.state.epoch_length, "iteration": iteration},
            "midway": midway_state(engine),
            "identity": self.identity,
            "best": best,
            **{name: thing.state_dict() for name, thing in self.objects.items()},
        }

    def load(self, engine: Engine) -> None:
        """Take everything from :attr:`last`.

        Raises:
            BundleError: the file is broken, of another run, or of another architecture.
        """
        saved = self._read()
        self._check_identity(saved["identity"])
        if idist.get_world_size() > 1 and len(set(idist.all_gather(saved["trainer"]["iteration"]))) > 1:
            raise BundleError(
                f"processes of this run have read different files as {self.last}: make sure that every machine sees "
                "the same folder, and start again."
            )
        for name, thing in self.objects.items():
            try:
                thing.load_state_dict(saved[name])
            except (KeyError, RuntimeError, ValueError) as error:
                raise BundleError(
                    f"{self.last} is of another architecture: {name} does not fit ({_first_lines(error)}). "
                    "Start with the settings of that run, or a new run with another --output_dir."
                ) from error
        engine.state.epoch = saved["trainer"]["epoch"]
        engine.state.iteration = saved["trainer"]["iteration"]
        restore_midway(engine, saved.get("midway", {}))  # older checkpoints are of complete epochs
        if self.evaluator is not None and saved["best"]:
            self.evaluator.state.best_metric = saved["best"]["metric"]
            self.evaluator.state.best_metric_epoch = saved["best"]["epoch"]

    def _read(self) -> dict[str, Any]:
        try:
            saved = read_weights(self.last)
        except BundleError as error:
            older = sorted(path.name for path in self.output_dir.glob("epoch_*.pt"))
            way_out = f"copy {older[-1]} over it" if older else "remove it to start anew"
            raise BundleError(f"{error} To go on without it, {way_out}.") from error
        if not isinstance(saved.get("identity"), dict) or not isinstance(saved.get("trainer"), dict):
            found = ", ".join(map(str, list(saved)[:4])) or "nothing"
            raise BundleError(
                f"{self.last} is no checkpoint of a run (it holds {found}). "
                "Give weights alone as region_encoder_ckpt or patch_encoder_ckpt, and another --output_dir."
            )
        return saved

    def _check_identity(self, then: Mapping[str, Any]) -> None:
        now = self.identity
        then = {k: False for k, value in now.items() if isinstance(value, bool)} | dict(then)  # older runs had no such
        compared = [k for k in now if k in then or k not in _LATER]
        changed = [f"{k}: {then.get(k)!r} then, {now[k]!r} now" for k in compared if then.get(k) != now[k]]
        if changed:
            raise BundleError(
                f"{self.last} cannot be resumed, the run has changed: {'; '.join(changed)}. "
                "Restore these, or start a new run with another --output_dir."
            )


def _first_lines(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:300]
