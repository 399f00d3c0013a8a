"""Token files in, batches of regions out: threads read the next ones while the network works on the last."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from ..cohort import SlideTable
from ..core import BundleError, as_whole
from ..storage import TokenFile
from .inference_inputs import InferenceInputs
from .inference_jobs import InferenceJob

Transform = Callable[[dict[str, Any]], dict[str, Any]]


class RegionStream:
    """Iterable of batches: ``image`` [n, D, P, P] and ``mask`` [n, P, P] of consecutive regions of one slide, ``job``.

    A batch never mixes slides: what is found in a slide must not depend on the slides beside it, not even in its last
    digits. A file that cannot be read fails its slide, and the stream goes on. Memory: ``num_workers + 2`` batches.

    Args:
        inputs: slides or token files.
        output_dir: embeddings go to its folder ``embeddings``.
        tokens_dir: where token files of slides are, or will be by the time that the stream is iterated.
        table: mpp and other values of slides.
        transform: of one region, a dictionary with ``features`` [P, P, D] and ``mask`` [P, P]; makes ``image``.
        batch_size: regions in a batch.
        num_workers: reading threads, at least one.
        rank, world_size: this process takes every ``world_size``-th slide; by default as torchrun says.

    Attributes:
        jobs: of this process, in the order of the inputs.
        is_wanted: asked of each job and its token file before it is read; an engine puts its own question here.
    """

    def __init__(
        self,
        inputs: InferenceInputs,
        output_dir: str | Path,
        tokens_dir: str | Path,
        *,
        table: SlideTable | None = None,
        transform: Transform | None = None,
        batch_size: int = 64,
        num_workers: int = 2,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        table = SlideTable({}) if table is None else table
        self.inputs, self.output_dir, self.transform = inputs, Path(output_dir), transform
        self.batch_size = as_whole(batch_size, "batch_size", 1)
        self.num_workers = max(1, as_whole(num_workers, "num_workers"))
        self.rank = int(os.environ.get("RANK", "0")) if rank is None else int(rank)
        self.world_size = int(os.environ.get("WORLD_SIZE", "1")) if world_size is None else int(world_size)
        self.is_wanted: Callable[[InferenceJob, TokenFile], bool] = lambda job, file: True
        self.jobs = [
            InferenceJob(
                ref,
                table.row(ref.slide_id, ref.path),
                Path(tokens_dir) / f"{ref.slide_id}.h5" if inputs.are_slides else ref.path,
                self.output_dir / "embeddings" / f"{ref.slide_id}.h5",
                inputs.are_slides,
            )
            for ref in inputs.refs[self.rank :: self.world_size]
        ]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        with ThreadPoolExecutor(self.num_workers, thread_name_prefix="regions") as pool:
            reads: deque[tuple[InferenceJob, Future[dict[str, Any]]]] = deque()
            for job, file, regions in self._parts():
                reads.append((job, pool.submit(self._read, file, regions)))
                if len(reads) > self.num_workers:
                    yield from self._arrived(*reads.popleft())
            while reads:
                yield from self._arrived(*reads.popleft())

    def _parts(self) -> Iterator[tuple[InferenceJob, TokenFile, range]]:
        for job in self.jobs:
            if job.status != "waiting":
                continue
            try:
                file = TokenFile(job.token_path)
                is_wanted = self.is_wanted(job, file)
            except BundleError as error:
                job.fail(error)
                continue
            if is_wanted:
                job.n_regions, job.coords, job.mask = len(file), file.coords, file.mask
                for start in range(0, len(file), self.batch_size):
                    yield job, file, range(start, min(start + self.batch_size, len(file)))

    def _arrived(self, job: InferenceJob, read: Future[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        try:
            batch = read.result()
        except Exception as error:  # whatever is wrong with a file is that slide's problem
            job.fail(error)
            return
        if job.status == "waiting":
            yield {**batch, "job": job}

    def _read(self, file: TokenFile, regions: range) -> dict[str, Any]:
        """A batch (in a thread)."""
        grids = torch.from_numpy(file.read(regions))
        masks = torch.from_numpy(file.mask[regions.start : regions.stop])
        items = [{"features": grid, "mask": mask} for grid, mask in zip(grids, masks, strict=True)]
        items = items if self.transform is None else [self.transform(item) for item in items]
        return {key: torch.stack([item[key] for item in items]) for key in ("image", "mask")}
