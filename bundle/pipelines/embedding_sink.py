"""Embeddings of regions in, one file a slide out; what is there and up to date is kept."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..cohort import EMBEDDED, SlideOutcome
from ..core import BundleError, Claims, SettingError, as_bool, check_folder, remove_stale_parts
from ..networks import RegionDescriber
from ..slides import SlideReading
from ..storage import NoRoomError, TokenFile, read_embeddings_header, write_embeddings, write_npz
from .jobs import Piece, SlideJob
from .pipeline import SlidePipeline
from .recorder import SlideRecorder
from .sink import Rows, Sink

FILE_TYPES = ("h5", "both")
_log = logging.getLogger(__name__)


class EmbeddingSink(Sink[list[Rows]]):
    """Collects a slide's rows (``pred``, ``projection``, ``attention``) and writes what the recorder makes of them.

    Embeddings that are there are kept while weights, settings and tokens are the same, and made anew otherwise. The
    network is a :class:`~bundle.networks.RegionDescriber`.

    Args:
        recorder: makes a slide's record.
        file_type: ``h5``, or ``both``: an ``.npz`` beside each ``.h5``.
        keep_tokens: False: token files that this very run has made are removed once their slide is embedded.
        overwrite: make finished files anew.
    """

    table, done = EMBEDDED, "embedded"

    def __init__(
        self, recorder: SlideRecorder, *, file_type: str = "h5", keep_tokens: bool = True, overwrite: bool = False
    ) -> None:
        super().__init__()
        if file_type not in FILE_TYPES:
            raise SettingError(f"file_type is {file_type!r}; choose one of {', '.join(FILE_TYPES)}.")
        self.recorder, self.has_npz, self.overwrite = recorder, file_type == "both", as_bool(overwrite)
        self.keeps_tokens = as_bool(keep_tokens)
        self._token_dim = 0
        self._claims: list[Claims] = []

    def check(self, pipeline: SlidePipeline) -> None:
        """Weights are there."""
        network: RegionDescriber = pipeline.network  # type: ignore[assignment]
        self._token_dim = network.token_dim
        self.recorder.identify(network)

    def prepare(self, pipeline: SlidePipeline) -> None:
        """The folder can be written, and is no other run's; what killed runs have left in it goes.

        Raises:
            BundleError: another run writes there.
        """
        source = pipeline.source
        for folder in {job.file.parent for job in source.jobs}:
            remove_stale_parts(check_folder(folder, "embeddings", "output_dir"))
            claims = Claims(folder, "embeddings", "output_dir", {"processes": source.world_size})
            self._claims.append(claims)
            if not claims.take(f"process {source.rank}"):
                self.close()
                raise claims.refuse()

    def close(self) -> None:
        """What is unfinished is forgotten; others may write."""
        super().close()
        while self._claims:
            self._claims.pop().close()

    def skip_if_made(self, job: SlideJob, reading: SlideReading, kind: Mapping[str, Any]) -> None:
        """Skip a slide that has embeddings and no tokens any more, if it would be read and embedded in the same way.

        Args:
            job: the slide.
            reading: how it would be read.
            kind: what its tokens would record, see :meth:`TokenSink.kind`.
        """
        header = self._finished(job)
        if header is not None:
            change = reading.change(header) or self.recorder.change(header, kind)
            self._skip_or_tell(job, header, change, reading.unsaid(header))

    def is_wanted(self, job: SlideJob, slide: TokenFile) -> bool:
        """Whether a slide of these tokens has to be embedded."""
        if slide.header.dim != self._token_dim:
            raise BundleError(
                f"the region encoder takes tokens of length {self._token_dim}, {slide.path.name} has "
                f"{slide.header.dim}: give the patch encoder that it was trained with, or another region_encoder_ckpt."
            )
        job.attributes = self.recorder.attributes(job, slide)
        job.mpp = float(job.attributes["level0_mpp"])
        header = self._finished(job)
        if header is not None:
            same_tokens = header.get("source_key") == job.attributes["source_key"]
            self._skip_or_tell(
                job, header, self.recorder.change(header) or ("" if same_tokens else "its tokens are others")
            )
        if job.status == "skipped":
            self._remove_tokens(job)
            return False
        job.n_regions, job.coords, job.mask = len(slide), slide.coords, slide.mask
        return True

    def add(self, piece: Piece, rows: Rows) -> None:
        """Take the rows of a batch; the last one makes the file."""
        job = piece.job
        parts = self._begun.setdefault(job, [])
        parts.append(rows)
        job.n_written += piece.n
        if job.n_written < job.n_regions:
            return
        job.insist_on_same()
        slide = self.recorder.make(job, {name: np.concatenate([part[name] for part in parts]) for name in rows})
        try:
            if self.has_npz:
                write_npz(slide, job.file.with_suffix(".npz"))
            write_embeddings(slide, job.file)
        except BundleError as error:
            raise NoRoomError(str(error)) from error
        del self._begun[job]
        job.n_prototypes = slide.n_prototypes
        job.finish(f"{slide.n_prototypes} prototypes")
        self._remove_tokens(job)

    def outcome(self, job: SlideJob) -> SlideOutcome:
        """Its line in the index, beside which the folder of embeddings lies."""
        is_there = job.status in ("done", "skipped")
        return SlideOutcome(
            job.slide_id,
            job.status,
            regions=job.n_regions,
            prototypes=job.n_prototypes,
            mpp=job.mpp,
            file=f"{job.file.parent.name}/{job.file.name}" if is_there else "",
            error=" ".join(job.error.split()),
            values={name: value for name, value in job.row.values.items() if name != "slide"},
        )

    def _finished(self, job: SlideJob) -> dict[str, Any] | None:
        """What the slide's embeddings record, or None where they have to be made."""
        if self.overwrite or not job.file.is_file() or (self.has_npz and not job.file.with_suffix(".npz").is_file()):
            return None
        try:
            return read_embeddings_header(job.file)
        except BundleError as error:
            _log.warning("%s They are made anew.", error)
            return None

    def _skip_or_tell(self, job: SlideJob, header: Mapping[str, Any], change: str, unsaid: str = "") -> None:
        """Skip the slide, or say why it is embedded all the same; the first reason counts."""
        if change:
            if not job.change:
                _log.info("slide %s is embedded anew: %s", job.slide_id, change)
            job.change = job.change or change
            return
        if unsaid:
            text = "embeddings of slide %s are kept although they were made with %s; --overwrite true makes them anew"
            _log.warning(text, job.slide_id, unsaid)
        n_regions, mpp = int(header["n_regions"]), float(header["level0_mpp"])
        job.skip(n_regions, mpp, n_prototypes=int(header["n_prototypes"]))

    def _remove_tokens(self, job: SlideJob) -> None:
        if job.is_made and not self.keeps_tokens:
            job.source.unlink(missing_ok=True)
