"""A slide on its way to its token file, and what is known about it before anything is read."""

import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..cohort import SlideOutcome, SlideRef, SlideRow
from ..core import BundleError, encoder_key
from ..slides import SlideReading
from ..storage import TokenHeader, read_token_header

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class SlideJob:
    """One slide. ``status``: waiting, done, skipped (its file was there) or failed.

    ``encoded`` bool [R, P, P] says which patches are encoded, ``mask`` which hold tissue; both are known once the slide
    is planned, as are ``coords`` [R, 2] and ``attributes``.
    """

    ref: SlideRef
    row: SlideRow
    token_path: Path
    default_mpp: float | None = None
    status: str = "waiting"
    error: str = ""
    reader: str = ""
    mpp: float = math.nan
    started_s: float = 0.0
    seconds: float = 0.0
    coords: NDArray[np.int64] = field(default_factory=lambda: np.empty((0, 2), np.int64))
    mask: NDArray[np.bool_] = field(default_factory=lambda: np.empty((0, 0, 0), bool))
    encoded: NDArray[np.bool_] = field(default_factory=lambda: np.empty((0, 0, 0), bool))
    attributes: dict[str, Any] = field(default_factory=dict)
    n_regions: int = 0
    n_patches: int = 0
    n_written: int = 0

    @property
    def reading(self) -> SlideReading:
        """What decides what is read of the slide."""
        return SlideReading(self.ref.path, self.row, self.default_mpp)

    def start(self) -> None:
        """The encoder gets to the slide; ``seconds`` count from the first time."""
        self.started_s = self.started_s or time.monotonic()

    def finish(self) -> None:
        """The token file has its name."""
        self.status = "done"
        self._stop_clock()
        logger.info(
            "slide %s: %d regions, %d patches, %.1f s", self.ref.slide_id, self.n_regions, self.n_patches, self.seconds
        )

    def fail(self, error: BaseException) -> None:
        """Give the slide up; the first reason counts."""
        if self.status == "failed":
            return
        self.status = "failed"
        self.error = str(error) if isinstance(error, BundleError) else f"{type(error).__name__}: {error}"
        self._stop_clock()
        logger.warning("slide %s failed: %s", self.ref.slide_id, self.error)

    def record(self) -> SlideOutcome:
        """The slide's line in the table."""
        return SlideOutcome(
            self.ref.slide_id,
            self.status,
            regions=self.n_regions,
            patches=self.n_patches,
            seconds=self.seconds,
            reader=self.reader,
            mpp=self.mpp,
            error=self.error,
        )

    def _stop_clock(self) -> None:
        self.seconds = time.monotonic() - self.started_s if self.started_s else 0.0


class Piece(NamedTuple):
    """Patches of a batch that lie side by side: ``n_patches`` of a region's encoded ones, from the ``first``."""

    job: SlideJob
    region: int
    first: int
    n_patches: int


def settle_finished(
    jobs: Sequence[SlideJob],
    tokens_dir: str | Path,
    expected: Mapping[str, Any],
    overwrite: bool,
    preferred: Mapping[str, Any] | None = None,
) -> None:
    """Mark slides whose file is complete as skipped, after making sure that the folder holds one kind of tokens.

    Args:
        jobs: this process's slides.
        tokens_dir: where token files are.
        expected: ``encoder``, ``mpp``, ``region_patches``, ``dim``, ``patch_size_px`` and ``encode_background`` of the
            files that will be written.
        overwrite: make the files of ``jobs`` anew; others in the folder must agree all the same.
        preferred: settings with which files are kept as they are, with a warning, where they record others
            (``min_tissue``). The file of a slide that would be read in another way by now
            (:meth:`SlideReading.change`) is made anew, and replaced once the new one is complete.

    Raises:
        BundleError: a file in the folder was made in another way; both ways are named.
    """
    by_path = {job.token_path: job for job in jobs}
    for path in sorted(Path(tokens_dir).glob("*.h5")):
        job = by_path.get(path)
        if job is not None and overwrite:
            continue
        try:
            header = read_token_header(path)
        except BundleError as error:
            logger.warning("%s%s", error, "" if job is None else " It is made anew.")
            continue
        _check_kind(header, expected)
        if job is None:
            continue
        change = job.reading.change(header.attributes)
        if change:
            logger.warning("slide %s is tokenized anew, and %s replaced: %s", header.slide_id, path, change)
        else:
            _warn_of_others(header, preferred or {}, job.reading.unsaid(header.attributes))
            job.status, job.reader = "skipped", str(header.attributes.get("reader", ""))
            job.n_regions, job.mpp = header.n_regions, float(header.attributes.get("level0_mpp", math.nan))
            job.n_written = job.n_regions


def _warn_of_others(header: TokenHeader, preferred: Mapping[str, Any], unsaid: str) -> None:
    found = {name: header.attributes[name] for name in preferred if name in header.attributes}
    others = [
        f"{name} {value} in place of {preferred[name]}" for name, value in found.items() if value != preferred[name]
    ] + [unsaid] * bool(unsaid)
    if others:
        text = "tokens of slide %s are kept although they were made with %s; --overwrite true makes them anew"
        logger.warning(text, header.slide_id, ", ".join(others))


def _check_kind(header: TokenHeader, expected: Mapping[str, Any]) -> None:
    found = {**header.attributes, "region_patches": header.region_patches, "dim": header.dim}
    for name, wanted in expected.items():
        value = found.get(name, wanted)
        same = encoder_key(value) == encoder_key(wanted) if name == "encoder" else value == wanted
        if not same:
            raise BundleError(
                f"the folder {header.path.parent} holds tokens of another kind: {header.path.name} was made with "
                f"{name} {value}, this run would use {wanted}. Choose another tokens_dir, or remove the old files."
            )
