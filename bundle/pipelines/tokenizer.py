"""The engine that turns slides into token files."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from ignite.engine import Events
from monai.engines import Evaluator
from monai.inferers import Inferer, SimpleInferer
from torch import Tensor, nn

from ..cohort import TOKENIZED, SlideOutcome
from ..core import BundleError, SettingError, as_bool, check_folder
from ..parallel import own_device
from .tokenizer_jobs import Piece, settle_finished
from .tokenizer_sink import TokenSink
from .tokenizer_stream import PatchStream

logger = logging.getLogger(__name__)


class TokenizingProgress(NamedTuple):
    """How far a run is. ``done`` of ``total`` slides, a slide in work counting by its regions; ``patches`` so far."""

    done: float
    total: int
    patches: int


class TokenizingEvaluator(Evaluator):
    """Encodes the patches of a :class:`PatchStream` and writes one token file a slide.

    Finished files are kept and skipped; a file appears under its name only when it is complete. A bad slide is
    reported and left out. At the end ``output_dir`` has ``slides.csv``, a line a slide. With several processes each has
    a table of its own, and the last one to finish merges them.

    Args:
        device: where to encode; ``cuda`` without a number is shared out among this machine's processes.
        val_data_loader: the stream of patches.
        network: patch encoder, uint8 [B, 3, p, p] -> [B, D], such as :class:`~bundle.networks.PatchTokenizer`; its
            ``name``, ``sha256``, ``mean``, ``std`` and ``amp`` are recorded. None where no slide waits for tokens.
        output_dir: where the table of slides goes.
        inferer: runs the network.
        dtype: of the stored tokens, float16 or float32.
        overwrite: make files that are already there anew.
        is_settled: files that are there were looked at before, see :func:`settle_finished`.
        val_handlers: Ignite handlers; :meth:`progress` tells them how far the run is.

    Raises:
        BundleError: (at ``run``) the encoder does not fit, the folder holds tokens of another kind, the disk is full,
            or no slide worked.
    """

    def __init__(
        self,
        device: torch.device | str,
        val_data_loader: PatchStream,
        network: nn.Module | None,
        output_dir: str | Path,
        *,
        inferer: Inferer | None = None,
        dtype: str = "float16",
        overwrite: bool = False,
        is_settled: bool = False,
        val_handlers: Sequence[Any] | None = None,
    ) -> None:
        device = own_device(device)
        self.stream = val_data_loader
        self.network = None if network is None else network.to(device)
        self.output_dir = Path(output_dir)
        self.inferer = SimpleInferer() if inferer is None else inferer
        if dtype not in ("float16", "float32"):
            raise SettingError(f"dtype is {dtype!r}; tokens are stored as float16 or float32.")
        self.overwrite, self.dtype, self.is_settled = as_bool(overwrite), dtype, is_settled
        self.rank, self.world_size = val_data_loader.rank, val_data_loader.world_size
        self.sink: TokenSink | None = None
        self._n_patches = 0
        self._in_flight: tuple[Sequence[Piece], _Fetch] | None = None
        super().__init__(device=device, val_data_loader=val_data_loader, decollate=False)
        self.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: engine._write_in_flight())
        self._register_handlers(tuple(val_handlers or ()))

    @property
    def progress(self) -> TokenizingProgress:
        """How far this process is, skipped slides left out."""
        jobs = [job for job in self.stream.jobs if job.status != "skipped"]
        parts = (job.n_written / max(1, job.n_regions) if job.status == "waiting" else 1.0 for job in jobs)
        return TokenizingProgress(sum(parts), len(jobs), self._n_patches)

    def run(self, global_epoch: int = 1) -> None:
        """Tokenize every slide that has no file yet."""
        check_folder(self.output_dir, "the table of slides", "output_dir")
        self._report_path(self.rank).unlink(missing_ok=True)
        if self.network is not None:
            self._prepare()
        started_s = time.monotonic()
        try:
            if any(job.status == "waiting" for job in self.stream.jobs):
                super().run(global_epoch)
        finally:
            self.stream.close()
            if self.sink is not None:
                self.sink.close()
            self._in_flight = None
            records = self._report(time.monotonic() - started_s)
        _insist_on_one(records)

    def _prepare(self) -> None:
        """Try the encoder, then look at the files that are there; no slide is touched before both are well."""
        side = self.stream.patch_size
        try:
            tokens = self._encode(torch.zeros(1, 3, side, side, dtype=torch.uint8))
        except (RuntimeError, ValueError, TypeError) as error:
            raise BundleError(f"the patch encoder does not take patches of {side} px: {error}") from error
        if tokens.ndim != 2:
            raise BundleError(
                f"the patch encoder makes {list(tokens.shape)} of one patch; it must give one vector, [1, D]."
            )
        attributes = {"encoder": self._encoder_name()}
        kind = {
            "mpp": self.stream.mpp,
            "region_patches": self.stream.region_patches,
            "patch_size_px": side,
            "dim": tokens.shape[1],
            "encode_background": self.stream.encode_background,
            **attributes,
        }
        tokens_dirs = {job.token_path.parent for job in self.stream.jobs}
        for folder in tokens_dirs:
            check_folder(folder, "token files", "tokens_dir")
            if not self.is_settled:
                settle_finished(self.stream.jobs, folder, kind, self.overwrite, self.stream.tissue)
        self.sink = TokenSink(tokens.shape[1], self.dtype, {**attributes, **self._recorded()})

    def _encoder_name(self) -> str:
        name = str(getattr(self.network, "name", type(self.network).__name__))
        sha256 = getattr(self.network, "sha256", "")
        return f"{name} sha256:{sha256}" if sha256 else name

    def _recorded(self) -> dict[str, Any]:
        values = {name: getattr(self.network, name, None) for name in ("mean", "std")}
        normalization = {
            f"normalization_{name}": [float(channel) for channel in value]
            for name, value in values.items()
            if value is not None
        }
        return {"dtype": self.dtype, "amp": bool(getattr(self.network, "amp", False)), **normalization}

    def _iteration(self, engine: Any, batchdata: dict[str, Any]) -> Tensor:
        try:
            tokens = self._encode(batchdata["image"])
        except torch.OutOfMemoryError as error:
            raise BundleError(
                f"a batch of {len(batchdata['image'])} patches does not fit into the memory of {engine.state.device}; "
                "lower batch_size."
            ) from error
        fetch = _Fetch(tokens)
        self._write_in_flight()  # the batch before, while the device works on this one
        self._in_flight = (batchdata["pieces"], fetch)
        return tokens

    def _encode(self, image: Tensor) -> Tensor:
        """Tokens [n, D] of patches, float32 on the device."""
        device = self.state.device
        assert self.network is not None
        with torch.inference_mode(), self.mode(self.network):
            return self.inferer(image.to(device, non_blocking=True), self.network).float()

    def _write_in_flight(self) -> None:
        if self._in_flight is None or self.sink is None:
            return
        pieces, fetch = self._in_flight
        self._in_flight = None
        tokens = fetch.wait()
        self.sink.add(pieces, tokens.numpy())
        self._n_patches += len(tokens)

    def _report_path(self, rank: int) -> Path:
        name = "slides.csv" if self.world_size == 1 else f"slides_{rank}_of_{self.world_size}.csv"
        return self.output_dir / name

    def _report(self, seconds: float) -> list[SlideOutcome]:
        """Write and show the table; the records of all processes, or none while others are still at work."""
        records = [job.record() for job in self.stream.jobs]
        TOKENIZED.write(records, self._report_path(self.rank))
        if self.world_size > 1:
            others = [self._report_path(rank) for rank in range(self.world_size)]
            if not all(path.is_file() for path in others):
                logger.info("process %d of %d is done; others go on", self.rank, self.world_size)
                return []
            records = [record for path in others for record in TOKENIZED.read(path)]
            TOKENIZED.write(records, self.output_dir / "slides.csv")
        logger.info("%s", TOKENIZED.text(records))
        rate = self._n_patches / max(seconds, 1e-9)
        who = "" if self.world_size == 1 else f"process {self.rank} of {self.world_size}: "
        logger.info("%s%s patches in %.1f s, %.0f patches/s", who, f"{self._n_patches:,}", seconds, rate)
        return records


class _Fetch:
    """Tokens on their way to the CPU while the device goes on working."""

    def __init__(self, tokens: Tensor) -> None:
        self._arrived = None
        self._tokens = tokens
        if tokens.is_cuda:
            self._tokens = torch.empty(tokens.shape, dtype=tokens.dtype, pin_memory=True)
            self._tokens.copy_(tokens, non_blocking=True)
            self._arrived = torch.cuda.Event()
            self._arrived.record(torch.cuda.current_stream(tokens.device))

    def wait(self) -> Tensor:
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._tokens.cpu()


def _insist_on_one(records: Sequence[SlideOutcome]) -> None:
    failed = [record for record in records if record.status == "failed"]
    if failed and len(failed) == len(records):
        raise BundleError(f"none of {len(records)} slides could be tokenized; {failed[0].slide}: {failed[0].error}")
