"""Token files as batches of regions, for a region encoder; those of slides are made first."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..cohort import SlideTable
from ..networks import Encoder
from ..slides import ReadSettings
from ..storage import TokenFile, checked_verify
from .embedding_sink import EmbeddingSink
from .inputs import InferenceInputs
from .jobs import Piece, SlideJob
from .pipeline import NoSlideError, SlidePipeline
from .source import Source

Transform = Callable[[dict[str, Any]], dict[str, Any]]


class RegionStream(Source):
    """Batches of consecutive regions of one slide, ``image`` [n, D, P, P] and ``present`` [n, P, P]; a part is a batch.

    A batch never mixes slides: what is found in a slide must not depend on the slides beside it, not even in its last
    digits.

    Args:
        inputs: slides or token files.
        output_dir: embeddings go to its folder ``embeddings``.
        tokens_dir: where token files of slides are, or will be by the time that the source is iterated.
        tokens: tokenizes slides that have no token file; None: all have one.
        table: mpp and other values of slides.
        encoder: whose ``takes_centered`` says whether tokens are read less the mean of their slide; None: as they are.
        transform: of one region, a dictionary with ``features`` [P, P, D] and ``mask`` [P, P]; makes ``image``.
        batch_size: regions in a batch.
        num_workers: see :class:`Source`.
        verify: when token files are compared with their checksums, see :class:`TokenFile`.
    """

    unit, others = "regions", ("present",)

    def __init__(
        self,
        inputs: InferenceInputs,
        output_dir: str | Path,
        tokens_dir: str | Path,
        *,
        tokens: SlidePipeline | None = None,
        table: SlideTable | None = None,
        encoder: Encoder | None = None,
        transform: Transform | None = None,
        batch_size: int = 64,
        num_workers: int = 2,
        verify: str = "first",
    ) -> None:
        self.tokens, self.transform = tokens if inputs.are_slides else None, transform
        self._encoder, self._verify = encoder, checked_verify(verify)
        super().__init__(
            inputs.refs,
            Path(output_dir) / "embeddings",
            table=table,
            made_in=Path(tokens_dir) if inputs.are_slides else None,
            batch_size=batch_size,
            num_workers=num_workers,
        )
        self.n_ahead = self.num_workers + 1  # a part is a whole batch

    def prepare(self, sink: EmbeddingSink) -> None:
        """Make what tokens are missing; slides whose embeddings are there need none.

        Raises:
            BundleError: tokenizing cannot go on: no patch encoder, or one that does not fit, tokens of another kind
                than the region encoder's or than the folder's, a full disk. That slides are bad, even all of them, is
                no such reason.
        """
        if self.tokens is None:
            return
        slides, kind = self.tokens.source.jobs, self.tokens.sink.kind(self.tokens.source)  # type: ignore[attr-defined]
        how: ReadSettings = self.tokens.source.how  # type: ignore[attr-defined]
        sink.recorder.insist_on_kind({**kind, "region_patches": how.region_patches})
        for job, slide in zip(self.jobs, slides, strict=True):
            if not job.source.is_file():
                sink.skip_if_made(job, slide.reading, kind)
            slide.status = "waiting" if job.status == "waiting" else "skipped"
        if self.is_waiting or self.together is not None:  # all of torchrun's processes, or none
            with contextlib.suppress(NoSlideError):
                self.tokens.run()
        if self.together is not None:  # other machines have made files that were not there when this one looked
            for folder in sorted({job.source.parent for job in self.jobs}):
                self.together.insist_on_shared(folder, "token files", "tokens_dir")
        for job, slide in zip(self.jobs, slides, strict=True):
            job.is_made = slide.status == "done"  # by whichever process
            if slide.status == "failed":
                job.fail(slide.error)

    def open(self, job: SlideJob) -> TokenFile:
        """Look at its token file."""
        is_centered = self._encoder is not None and self._encoder.takes_centered
        file = TokenFile(job.source, is_centered, self._verify)
        job.n_regions, job.coords, job.mask = len(file), file.coords, file.mask
        return file

    def n_parts(self, slide: TokenFile) -> int:
        """Its batches."""
        return -(-len(slide) // self.batch_size)

    def read(self, slide: TokenFile, job: SlideJob, part: int) -> tuple[Tensor, Tensor]:
        """Regions of a batch, and which of their tokens are there."""
        start = part * self.batch_size
        regions = range(start, min(start + self.batch_size, len(slide)))
        grids = torch.from_numpy(slide.read(regions))
        masks = torch.from_numpy(slide.mask[regions.start : regions.stop])
        items = [{"features": grid, "mask": mask} for grid, mask in zip(grids, masks, strict=True)]
        items = items if self.transform is None else [self.transform(item) for item in items]
        present = torch.from_numpy(slide.present[regions.start : regions.stop])
        return torch.stack([item["image"] for item in items]), present

    def batches(self, parts: Iterable[tuple[SlideJob, int, tuple[Tensor, Tensor]]]) -> Iterator[dict[str, Any]]:
        """A batch a part."""
        for job, part, (image, present) in parts:
            yield {"image": image, "present": present, "pieces": [Piece(job, part, 0, len(image))]}
