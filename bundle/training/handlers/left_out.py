"""Batches that a run goes on without: the loss was not finite there."""

from __future__ import annotations

import json
import logging

import ignite.distributed as idist
from ignite.engine import Engine

from ...core import BundleError, as_whole, read_json_file, write_text
from .run_state import LEFT_OUT, RunState

_log = logging.getLogger(__name__)


class LeftOut:
    """A file beside ``last.pt`` names iterations at which a resumed run takes other regions.

    Every random number of a step follows from seed, epoch and regions, so that a run which goes back meets the same
    batch, and the same loss, again. Which regions stand in is a function of seed and epoch, too
    (:class:`~bundle.storage.RegionBatchSampler`): however often the run is resumed, it is the same.

    Args:
        run_state: whose folder it is.
        retries: how often iterations are written down; later ones stop the run for good.
    """

    def __init__(self, run_state: RunState, retries: int = 1) -> None:
        self.run_state, self.retries = run_state, as_whole(retries, "nan_retries")
        self.path = run_state.output_dir / LEFT_OUT

    def apply(self, engine: Engine) -> None:
        """Hand them to the sampler of a run that is resumed.

        Raises:
            BundleError: the file is damaged.
        """
        sampler = getattr(getattr(engine, "data_loader", None), "batch_sampler", None)
        if sampler is None or not hasattr(sampler, "left_out") or not engine.state.iteration:
            return
        spans = self._read()
        sampler.left_out = {number for first, last in spans for number in range(first, last + 1)}
        if spans:
            said = ", ".join(f"{first} to {last}" for first, last in spans)
            _log.warning("other regions stand in at iterations %s, where the loss was not finite (%s)", said, self.path)

    def add(self, first: int, last: int) -> str:
        """Write down iterations ``first`` to ``last``; what a resumed run will do, in words.

        Raises:
            BundleError: the file is damaged.
        """
        spans = self._read()
        if not self.retries or not self.run_state.last.exists():
            return ""
        if len(spans) >= self.retries:
            return f"It has gone back {len(spans)} times before (nan_retries; {self.path}). "
        if idist.get_rank() == 0:
            write_text(self.path, json.dumps({"iterations": [*spans, (first, last)]}) + "\n")
        return (
            f"--resume true goes back to {self.run_state.last}, and takes other regions in place of those of "
            f"iterations {first} to {last}. If that is not enough: "
        )

    def _read(self) -> list[tuple[int, int]]:
        if not self.path.exists():
            return []
        try:
            found = read_json_file(self.path)["iterations"]
            return [(int(first), int(last)) for first, last in found]
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise BundleError(
                f"{self.path} is damaged ({type(error).__name__}): it names iterations to be left out. Remove it to go "
                "on with all of them."
            ) from error
