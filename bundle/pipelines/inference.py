"""The engine that turns slides or token files into embeddings, one file a slide and an index."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from monai.engines import Evaluator
from monai.engines.utils import IterationEvents
from monai.inferers import Inferer, SimpleInferer
from torch import Tensor

from ..cohort import EMBEDDED, SlideOutcome
from ..core import BundleError, SettingError, as_bool, check_folder
from ..networks import Encoder, RegionDescriber
from ..parallel import own_device
from ..storage import TokenFile, read_embeddings_header, remove_stale_embeddings, write_embeddings, write_npz
from .inference_jobs import InferenceJob
from .inference_record import SlideRecorder
from .inference_stream import RegionStream
from .inference_tokens import SlideTokens

logger = logging.getLogger(__name__)
FILE_TYPES = ("h5", "both")


class InferenceProgress(NamedTuple):
    """How far a run is. ``done`` of ``total`` slides, a slide in work counting by its regions; ``regions`` so far."""

    done: float
    total: int
    regions: int


class InferenceEvaluator(Evaluator):
    """Embeds the regions of a :class:`RegionStream`, finds each slide's prototypes and writes one file a slide.

    Slides without tokens are tokenized first. Embeddings that are there are kept while weights, settings and tokens
    are the same, and made anew otherwise. A bad slide is reported and left out. ``output_dir`` has ``slides.csv``, a
    line a slide, at the end; with several processes each has an index of its own, and the last one merges them.

    Args:
        device: where to embed; ``cuda`` without a number is shared out among this machine's processes.
        val_data_loader: batches of regions.
        network: the region encoder.
        recorder: makes a slide's record.
        tokens: makes the token files of slides.
        inferer: runs the network.
        postprocessing: of a batch's ``pred``, ``projection`` and ``attention``.
        file_type: ``h5``, or ``both``: an ``.npz`` beside each ``.h5``.
        keep_tokens: False: token files of slides, all below ``output_dir``, are removed once their slide is embedded.
        overwrite: make finished files anew.
        val_handlers: Ignite handlers; :attr:`progress` tells them how far the run is.

    Raises:
        BundleError: (at ``run``) there are no weights, the disk is full, or no slide worked.
    """

    def __init__(
        self,
        device: torch.device | str,
        val_data_loader: RegionStream,
        network: Encoder,
        recorder: SlideRecorder,
        tokens: SlideTokens,
        *,
        inferer: Inferer | None = None,
        postprocessing: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
        file_type: str = "h5",
        keep_tokens: bool = True,
        overwrite: bool = False,
        val_handlers: Sequence[Any] | None = None,
    ) -> None:
        device = own_device(device)
        self.stream, self.recorder, self.tokens = val_data_loader, recorder, tokens
        self.network = RegionDescriber(network, recorder.settings["has_attention"]).to(device)
        self.token_dim = network.state_dict()["backbone.phi.0.weight"].shape[1]
        self.inferer = SimpleInferer() if inferer is None else inferer
        if file_type not in FILE_TYPES:
            raise SettingError(f"file_type is {file_type!r}; choose one of {', '.join(FILE_TYPES)}.")
        self.has_npz, self.overwrite = file_type == "both", as_bool(overwrite)
        self.removes_tokens = not as_bool(keep_tokens) and self.stream.inputs.are_slides
        self._check_removal()
        self.stream.is_wanted = self._is_wanted
        super().__init__(
            device=device,
            val_data_loader=val_data_loader,
            postprocessing=postprocessing,
            val_handlers=val_handlers,
            decollate=False,
        )

    @property
    def progress(self) -> InferenceProgress:
        """How far this process is."""
        jobs = self.stream.jobs
        parts = (job.n_embedded / max(1, job.n_regions) if job.status == "waiting" else 1.0 for job in jobs)
        return InferenceProgress(sum(parts), len(jobs), sum(job.n_embedded for job in jobs))

    def run(self, global_epoch: int = 1) -> None:
        """Embed every slide whose embeddings are not there yet."""
        self.recorder.identify()
        remove_stale_embeddings(check_folder(self.stream.output_dir / "embeddings", "embeddings", "output_dir"))
        self._index_path(self.stream.rank).unlink(missing_ok=True)
        try:
            if self.stream.inputs.are_slides:
                self._tokenize()
            if any(job.status == "waiting" for job in self.stream.jobs):
                super().run(global_epoch)
        finally:
            rows = self._write_index()
        _insist_on_one(rows)

    def _tokenize(self) -> None:
        """Make what tokens are missing; slides whose embeddings are there need none."""
        kind = self.tokens.kind()
        for job, slide in zip(self.stream.jobs, self.tokens.stream.jobs, strict=True):
            header = None if job.token_path.is_file() else self._finished(job)
            if header is not None:
                change = slide.reading.change(header) or self.recorder.change(header, kind)
                job.settle(header, change, slide.reading.unsaid(header))
        made = self.tokens.make([job.status == "waiting" for job in self.stream.jobs])
        for job, slide in zip(self.stream.jobs, made, strict=True):
            if slide.status == "failed":
                job.fail(slide.error)

    def _finished(self, job: InferenceJob) -> dict[str, Any] | None:
        """What the slide's embeddings record, or None where they have to be made."""
        if self.overwrite or not job.file.is_file() or (self.has_npz and not job.file.with_suffix(".npz").is_file()):
            return None
        try:
            return read_embeddings_header(job.file)
        except BundleError as error:
            logger.warning("%s They are made anew.", error)
            return None

    def _is_wanted(self, job: InferenceJob, file: TokenFile) -> bool:
        """The stream asks: whether a slide has to be embedded.

        Raises:
            BundleError: it cannot be.
        """
        if file.header.dim != self.token_dim:
            raise BundleError(
                f"the region encoder takes tokens of length {self.token_dim}, {file.path.name} has {file.header.dim}: "
                "give the patch encoder that it was trained with, or another region_encoder_ckpt."
            )
        job.attributes = self.recorder.attributes(job, file)
        job.mpp = float(job.attributes["level0_mpp"])
        header = self._finished(job)
        if header is not None:
            same_tokens = header.get("source_key") == job.attributes["source_key"]
            job.settle(header, self.recorder.change(header) or ("" if same_tokens else "its tokens are others"))
        if job.status == "skipped":
            self._remove_tokens(job)
        return job.status == "waiting"

    def _iteration(self, engine: Any, batchdata: dict[str, Any]) -> dict[str, Tensor]:
        device = engine.state.device
        image, uses_bf16 = batchdata["image"], self.recorder.settings["embedding_amp"]
        try:
            with (
                torch.inference_mode(),
                self.mode(self.network),
                torch.autocast(torch.device(device).type, torch.bfloat16, uses_bf16),
            ):
                engine.state.output = self.inferer(image.to(device, non_blocking=True), self.network)
        except torch.OutOfMemoryError as error:
            raise BundleError(
                f"a batch of {len(image)} regions does not fit into the memory of {device}; lower batch_size."
            ) from error
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        self._take(batchdata["job"], engine.state.output)
        return engine.state.output

    def _take(self, job: InferenceJob, output: dict[str, Tensor]) -> None:
        job.found.append({name: values.float().cpu().numpy() for name, values in output.items()})
        job.n_embedded += len(output["pred"])
        if job.n_embedded < job.n_regions:
            return
        try:
            slide = self.recorder.make(job)
        except BundleError as error:
            job.fail(error)
            return
        if self.has_npz:
            write_npz(slide, job.file.with_suffix(".npz"))
        write_embeddings(slide, job.file)
        job.finish(slide.n_prototypes)
        self._remove_tokens(job)

    def _remove_tokens(self, job: InferenceJob) -> None:
        if self.removes_tokens:
            job.token_path.unlink(missing_ok=True)

    def _check_removal(self) -> None:
        root = self.stream.output_dir.resolve()
        outside = [job.token_path for job in self.stream.jobs if not job.token_path.resolve().is_relative_to(root)]
        if self.removes_tokens and outside:
            raise SettingError(
                f"keep_tokens false would remove token files outside of output_dir, such as {outside[0]}: leave "
                "tokens_dir as it is, or keep tokens."
            )

    def _index_path(self, rank: int) -> Path:
        world_size = self.stream.world_size
        return self.stream.output_dir / ("slides.csv" if world_size == 1 else f"slides_{rank}_of_{world_size}.csv")

    def _write_index(self) -> list[SlideOutcome]:
        """Write the index; rows of all processes, or none while others are still at work."""
        rows = [job.index_row(self.stream.output_dir) for job in self.stream.jobs]
        EMBEDDED.write(rows, self._index_path(self.stream.rank))
        if self.stream.world_size > 1:
            paths = [self._index_path(rank) for rank in range(self.stream.world_size)]
            if not all(path.is_file() for path in paths):
                logger.info("process %d of %d is done; others go on", self.stream.rank, self.stream.world_size)
                return []
            rows = [row for path in paths for row in EMBEDDED.read(path)]
            EMBEDDED.write(rows, self.stream.output_dir / "slides.csv")
        counts = Counter(row.status for row in rows)
        said = ", ".join(f"{counts[status]} {status}" for status in ("failed", "waiting", "done", "skipped"))
        logger.info("%d slides: %s; %s", len(rows), said, self.stream.output_dir / "slides.csv")
        return rows


def _insist_on_one(rows: Sequence[SlideOutcome]) -> None:
    failed = [row for row in rows if row.status == "failed"]
    if failed and len(failed) == len(rows):
        raise BundleError(f"none of {len(rows)} slides could be embedded; {failed[0].slide}: {failed[0].error}")
