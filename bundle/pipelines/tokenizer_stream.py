"""Slides in, batches of patches out: threads read the next regions while the network works on the last ones."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..cohort import SlideRef, SlideTable
from ..core import as_bool, as_whole
from ..slides import ReadSettings, Slide, open_slide, plan_slide, read_patches
from .tokenizer_jobs import Piece, SlideJob

_SLIDES_PLANNED_AHEAD = 2


class _Open:
    """A slide in use; it is closed once its last read has come back."""

    def __init__(self, job: SlideJob, slide: Slide) -> None:
        self.job, self.slide = job, slide
        self.next_region = 0
        self.n_reading = 0

    @property
    def has_more(self) -> bool:
        return self.job.status == "waiting" and self.next_region < self.job.n_regions


class _Read(NamedTuple):
    opened: _Open
    region: int
    future: Future


class PatchStream:
    """Iterable of batches: ``image`` uint8 [n, 3, p, p] and ``pieces``, which say whose patches they are.

    A batch mixes regions of several slides, so that small slides do not leave the device idle. A slide that cannot be
    read, even in its middle, is marked as failed and the stream goes on with the next one. Memory: about
    ``num_workers + 2`` regions (50 MB each at 16 x 16 patches of 256 px) and two batches, whatever the slides' sizes.

    Args:
        slides: what :func:`~bundle.cohort.find_slides` found.
        tokens_dir: where each slide's token file will be.
        table: ``mpp`` and ``roi`` of slides.
        wsi_reader: auto, cucim, openslide or tifffile.
        mpp: um/px at which patches are read.
        default_mpp: um/px of slides whose file and table name none.
        region_patches: patches P on a region's side.
        patch_size: pixels p on a patch's side.
        min_tissue: least share of tissue in a tissue patch, in [0, 1].
        min_tissue_patches: tissue patches that a region needs.
        encode_background: hand out all P x P patches of a region, tissue or not.
        batch_size: patches in a batch.
        num_workers: reading threads, at least one.
        pin_memory: page-locked batches, for quicker copies to a GPU.
        rank, world_size: this process takes every ``world_size``-th slide; by default as torchrun says.

    Raises:
        SettingError: a setting is out of its range.
    """

    def __init__(
        self,
        slides: Sequence[SlideRef],
        tokens_dir: str | Path,
        *,
        table: SlideTable | None = None,
        wsi_reader: str = "auto",
        mpp: float = 0.5,
        default_mpp: float | None = None,
        region_patches: int = 16,
        patch_size: int = 256,
        min_tissue: float = 0.1,
        min_tissue_patches: int = 8,
        encode_background: bool = False,
        batch_size: int = 256,
        num_workers: int = 4,
        pin_memory: bool = False,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        table = SlideTable.read(None) if table is None else table
        given = (wsi_reader, mpp, default_mpp, region_patches, patch_size, min_tissue, min_tissue_patches)
        how = ReadSettings(*given).checked()
        self.wsi_reader, self.mpp, self.default_mpp = how.wsi_reader, how.mpp, how.default_mpp
        self.region_patches, self.patch_size = how.region_patches, how.patch_size
        self.min_tissue, self.min_tissue_patches = how.min_tissue, how.min_tissue_patches
        self.encode_background = as_bool(encode_background)
        self.batch_size = as_whole(batch_size, "batch_size", 1)
        self.num_workers = max(1, as_whole(num_workers, "num_workers"))
        self.pin_memory = as_bool(pin_memory)
        self.n_ahead = self.num_workers + 2
        self.rank = int(os.environ.get("RANK", "0")) if rank is None else int(rank)
        self.world_size = int(os.environ.get("WORLD_SIZE", "1")) if world_size is None else int(world_size)
        self.jobs = [
            SlideJob(ref, table.row(ref.slide_id, ref.path), Path(tokens_dir) / f"{ref.slide_id}.h5", self.default_mpp)
            for ref in slides[self.rank :: self.world_size]
        ]
        self._pool: ThreadPoolExecutor | None = None
        self._plans: deque[tuple[SlideJob, Future]] = deque()
        self._in_use: list[_Open] = []
        self._spare: list[NDArray[np.uint8]] = []  # regions' memory to be used again: new memory is slow to get

    @property
    def tissue(self) -> dict[str, Any]:
        """Settings of which regions are kept, as token files record them."""
        return {"min_tissue": self.min_tissue, "min_tissue_patches": self.min_tissue_patches}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self._pool = ThreadPoolExecutor(self.num_workers, thread_name_prefix="read")
        try:
            yield from self._batches()
        finally:
            self.close()

    def close(self) -> None:
        """Stop reading and close every slide."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None
        for opened in self._in_use:
            opened.slide.close()
        for _, plan in self._plans:
            if not plan.cancelled() and plan.exception() is None:
                plan.result().close()
        self._in_use.clear()
        self._plans.clear()
        self._spare.clear()

    def _batches(self) -> Iterator[dict[str, Any]]:
        image, pieces, n_filled = self._empty_batch(), [], 0
        for job, region, patches in self._regions():
            first = 0
            while True:  # once, too, for a region without patches: its piece makes it a region of zeros
                n = min(self.batch_size - n_filled, len(patches) - first)
                image[n_filled : n_filled + n] = torch.from_numpy(patches[first : first + n])
                pieces.append(Piece(job, region, first, n))
                n_filled, first = n_filled + n, first + n
                if n_filled == self.batch_size:
                    yield {"image": image.permute(0, 3, 1, 2), "pieces": pieces}
                    image, pieces, n_filled = self._empty_batch(), [], 0
                if first == len(patches):
                    break
        if pieces:
            yield {"image": image[:n_filled].permute(0, 3, 1, 2), "pieces": pieces}

    def _empty_batch(self) -> Tensor:
        shape = (self.batch_size, self.patch_size, self.patch_size, 3)
        return torch.empty(shape, dtype=torch.uint8, pin_memory=self.pin_memory)

    def _regions(self) -> Iterator[tuple[SlideJob, int, NDArray[np.uint8]]]:
        """Regions in order, read ahead by the threads; those of failed slides are left out.

        Patches are good until the next region is asked for: their memory is used again.
        """
        waiting = deque(job for job in self.jobs if job.status == "waiting")
        plans = self._plans
        reads: deque[_Read] = deque()
        opened: _Open | None = None
        while waiting or plans or reads or opened is not None:
            while waiting and len(plans) < _SLIDES_PLANNED_AHEAD:
                job = waiting.popleft()
                plans.append((job, self._submit(self._plan, job)))
            while opened is not None and opened.has_more and len(reads) < self.n_ahead:
                reads.append(self._read_next(opened))
            if opened is not None and not opened.has_more:
                self._let_go(opened)
                opened = None
            if opened is None and plans and len(reads) < self.n_ahead and (plans[0][1].done() or not reads):
                opened = self._open(*plans.popleft())
                continue
            if reads:
                read = reads.popleft()
                memory = self._wait_for(read)
                if memory is not None:
                    job = read.opened.job
                    job.start()
                    yield job, read.region, memory[: job.encoded[read.region].sum()]
                    self._spare.append(memory)

    def _open(self, job: SlideJob, plan: Future) -> _Open | None:
        try:
            opened = _Open(job, plan.result())
        except Exception as error:  # whatever is wrong with a slide is that slide's problem
            job.fail(error)
            return None
        self._in_use.append(opened)
        return opened

    def _read_next(self, opened: _Open) -> _Read:
        region = opened.next_region
        opened.next_region += 1
        opened.n_reading += 1
        return _Read(opened, region, self._submit(self._read, opened.slide, opened.job, region))

    def _wait_for(self, read: _Read) -> NDArray[np.uint8] | None:
        job = read.opened.job
        if job.status == "failed":
            read.future.cancel()
        try:
            memory = read.future.result()
        except CancelledError:  # its slide has failed before
            memory = None
        except Exception as error:  # whatever is wrong with a slide is that slide's problem
            memory = None
            job.fail(error)
        read.opened.n_reading -= 1
        self._let_go(read.opened)
        return None if job.status == "failed" else memory

    def _let_go(self, opened: _Open) -> None:
        if not opened.has_more and not opened.n_reading and opened in self._in_use:
            self._in_use.remove(opened)
            opened.slide.close()

    def _submit(self, function: Any, *arguments: Any) -> Future:
        assert self._pool is not None
        return self._pool.submit(function, *arguments)

    def _plan(self, job: SlideJob) -> Slide:
        """Open a slide and find its regions (in a thread)."""
        slide = open_slide(
            job.ref.path,
            reader=self.wsi_reader,
            mpp=job.row.mpp,
            default_mpp=self.default_mpp,
            slide_id=job.ref.slide_id,
        )
        try:
            job.reader, job.mpp = slide.reader, slide.mpp
            grid = plan_slide(
                slide,
                roi=job.row.roi,
                mpp=self.mpp,
                region_patches=self.region_patches,
                patch_size=self.patch_size,
                min_tissue=self.min_tissue,
                min_tissue_patches=self.min_tissue_patches,
            )
            job.coords, job.mask, job.n_regions = grid.coords, grid.mask, len(grid.coords)
            job.encoded = np.ones_like(grid.mask) if self.encode_background else grid.mask
            job.n_patches = int(job.encoded.sum())
            job.attributes = self._attributes(job, slide)
        except BaseException:
            slide.close()
            raise
        return slide

    def _read(self, slide: Slide, job: SlideJob, region: int) -> NDArray[np.uint8]:
        """Memory of a region, [P * P, p, p, 3], that begins with its encoded patches (in a thread)."""
        try:
            memory = self._spare.pop()
        except IndexError:
            memory = np.empty((self.region_patches**2, self.patch_size, self.patch_size, 3), np.uint8)
        read_patches(
            slide,
            job.coords[region],
            job.encoded[region],
            mpp=self.mpp,
            patch_size=self.patch_size,
            region_patches=self.region_patches,
            out=memory,
        )
        return memory

    def _attributes(self, job: SlideJob, slide: Slide) -> dict[str, Any]:
        region_size = self.region_patches * self.patch_size
        return {
            "slide_id": job.ref.slide_id,
            "slide_path": job.ref.path.name,
            "level0_mpp": slide.mpp,
            "mpp_source": slide.mpp_source,
            "level0_width": slide.width,
            "level0_height": slide.height,
            "mpp": self.mpp,
            "read_mpp": slide.read_mpp(self.mpp),
            "patch_size_px": self.patch_size,
            "region_size_px": region_size,
            "region_size_level0": round(region_size * self.mpp / slide.mpp),
            "reader": slide.reader,
            "decoder": slide.patch_decoder(self.mpp),
            **self.tissue,
            "encode_background": self.encode_background,
            **job.reading.record(),
        }
