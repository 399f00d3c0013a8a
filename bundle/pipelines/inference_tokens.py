"""Tokens of slides that have none yet, as the first part of inference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.inferers import Inferer
from torch import nn

from ..core import BundleError, as_bool
from ..networks import weights_name
from .tokenizer import TokenizingEvaluator
from .tokenizer_jobs import SlideJob, settle_finished
from .tokenizer_stream import PatchStream


class SlideTokens:
    """Makes the token files of a :class:`PatchStream`; the patch encoder is loaded only if a slide has to be tokenized.

    Args:
        stream: the slides, and how they are read.
        make_network: loads the patch encoder.
        patch_encoder_ckpt: its file.
        device: where to encode.
        output_dir: ``slides.csv`` of this part goes here.
        inferer: runs the network.
        dtype: of the stored tokens.
        overwrite: make finished files anew.
        handlers: of the tokenizing engine.
    """

    def __init__(
        self,
        stream: PatchStream,
        make_network: Callable[[], nn.Module],
        patch_encoder_ckpt: str | Path,
        device: torch.device | str,
        output_dir: str | Path,
        *,
        inferer: Inferer | None = None,
        dtype: str = "float16",
        overwrite: bool = False,
        handlers: Sequence[Any] | None = None,
    ) -> None:
        self.stream, self.make_network = stream, make_network
        self.patch_encoder_ckpt = Path(patch_encoder_ckpt)
        self._options: dict[str, Any] = {
            "device": device,
            "output_dir": output_dir,
            "inferer": inferer,
            "dtype": dtype,
            "overwrite": overwrite,
            "val_handlers": handlers,
        }

    def kind(self) -> dict[str, Any]:
        """What token files of this run record, as far as it is known before a slide is opened."""
        region_size_px = self.stream.region_patches * self.stream.patch_size
        return {**self._kind_of_folder(), "region_size_px": region_size_px, **self.stream.tissue}

    def _kind_of_folder(self) -> dict[str, Any]:
        """What all token files of a folder have in common."""
        kind: dict[str, Any] = {name: getattr(self.stream, name) for name in ("mpp", "encode_background")}
        kind["patch_size_px"] = self.stream.patch_size
        if self.patch_encoder_ckpt.is_file():
            kind["encoder"] = weights_name(self.patch_encoder_ckpt)
        return kind

    def make(self, is_wanted: Sequence[bool]) -> list[SlideJob]:
        """Tokenize; returns the stream's jobs, with what became of each.

        Files that are there are looked at first: whether weights are needed, and whether they are well, is known before
        a slide is read.

        Args:
            is_wanted: of each of the stream's slides, whether its tokens are needed.

        Raises:
            BundleError: the run cannot go on: no patch encoder, or one that does not fit, a folder with tokens of
                another kind, a full disk. That slides are bad, even all of them, is no such reason.
        """
        jobs = self.stream.jobs
        for job, wanted in zip(jobs, is_wanted, strict=True):
            job.status = "waiting" if wanted else "skipped"
        if not any(is_wanted):
            return jobs
        self._settle()
        network = self.make_network() if any(job.status == "waiting" for job in jobs) else None
        engine = TokenizingEvaluator(network=network, val_data_loader=self.stream, is_settled=True, **self._options)
        try:
            engine.run()
        except BundleError:
            if any(job.status not in ("failed", "skipped") for job in jobs):
                raise
        return jobs

    def _settle(self) -> None:
        kind = {**self._kind_of_folder(), "region_patches": self.stream.region_patches}
        for folder in {job.token_path.parent for job in self.stream.jobs}:
            settle_finished(self.stream.jobs, folder, kind, as_bool(self._options["overwrite"]), self.stream.tissue)
