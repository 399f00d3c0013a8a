"""Slides as batches of patches, for a patch encoder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..cohort import SlideRef, SlideTable
from ..core import SettingError, as_bool
from ..slides import LocalCopies, ReadSettings, SlideRegions
from .jobs import Piece, SlideJob
from .source import Source

BATCH_WITHIN = ("region", "slide", "folder")


class PatchStream(Source):
    """Batches of patches, ``image`` uint8 [n, 3, p, p]; a part is a region.

    The last bits of a token depend on the batch that its patch rides in. A batch of one slide's patches alone is the
    same wherever a run starts, and however many processes share the folder. A region takes 50 MB at 16 x 16 patches of
    256 px.

    Args:
        slides: what :func:`~bundle.slides.find_slides` found.
        tokens_dir: where each slide's token file will be.
        table: ``mpp`` and ``roi`` of slides.
        encode_background: hand out all P x P patches of a region, tissue or not.
        batch_size: patches in a batch, at most.
        batch_within: what a batch's patches share: a ``region``, a ``slide``, or nothing but the ``folder``.
        fill_up: batches all have ``batch_size`` patches, black ones at their end that no piece names.
        num_workers: see :class:`Source`.
        pin_memory: page-locked batches, for quicker copies to a GPU.
        copies: of slides on a slow mount, see :class:`~bundle.slides.LocalCopies`; None: there are none.
        reading: how slides are read, see :class:`~bundle.slides.ReadSettings`.

    Raises:
        SettingError: a setting is out of its range.
    """

    unit = "patches"

    def __init__(
        self,
        slides: Sequence[SlideRef],
        tokens_dir: str | Path,
        *,
        table: SlideTable | None = None,
        encode_background: bool = False,
        batch_size: int = 256,
        batch_within: str = "slide",
        fill_up: bool = False,
        num_workers: int = 4,
        pin_memory: bool = False,
        copies: LocalCopies | None = None,
        **reading: Any,
    ) -> None:
        if batch_within not in BATCH_WITHIN:
            raise SettingError(f"batch_within is {batch_within!r}; choose one of {', '.join(BATCH_WITHIN)}.")
        self.batch_within = batch_within
        self.how = ReadSettings(**reading).checked()
        self.encode_background, self.pin_memory = as_bool(encode_background), as_bool(pin_memory)
        self.fill_up = as_bool(fill_up)
        self._copies = LocalCopies(None) if copies is None else copies
        self._spare: list[NDArray[np.uint8]] = []  # regions' memory to be used again: new memory is slow to get
        super().__init__(
            slides,
            Path(tokens_dir),
            table=table,
            default_mpp=self.how.default_mpp,
            batch_size=batch_size,
            num_workers=num_workers,
        )

    @property
    def kind(self) -> dict[str, Any]:
        """What tokens of these patches have in common, as token files record it."""
        how = self.how
        return {"mpp": how.mpp, "encode_background": self.encode_background, "patch_size_px": how.patch_size}

    def open(self, job: SlideJob) -> SlideRegions:
        """Open a slide and find its regions."""
        path = self._copies.take(job.ref.path)
        try:
            slide = self.how.open(path, job.row.mpp, job.slide_id, job.ref.section)
            job.reader, job.mpp = slide.reader, slide.mpp
            regions = SlideRegions(slide, self.how, job.row.roi)
        except BaseException:
            self._copies.give_back(path)
            raise
        regions.when_closed = partial(self._copies.give_back, path)
        try:
            self._note(job, regions)
        except BaseException:
            regions.close()
            raise
        return regions

    def _note(self, job: SlideJob, regions: SlideRegions) -> None:
        """What the slide's file of tokens will say."""
        job.coords, job.mask = regions.grid
        job.encoded = np.ones_like(job.mask) if self.encode_background else job.mask
        job.n_regions, job.n_patches = len(regions), int(job.encoded.sum())
        job.missing_tiles = regions.missing_tiles
        job.attributes = {
            "slide_id": job.slide_id,
            **regions.attributes,
            **self.how.tissue,
            "encode_background": self.encode_background,
            **job.reading.record(),
        }

    def n_parts(self, slide: SlideRegions) -> int:
        """Its regions."""
        return len(slide)

    def read(self, slide: SlideRegions, job: SlideJob, part: int) -> NDArray[np.uint8]:
        """A region's encoded patches [n, p, p, 3]; their memory is used again once they are in batches."""
        how, which = self.how, slide.grid.mask[part]
        try:
            memory = self._spare.pop()
        except IndexError:
            memory = np.empty((how.region_patches**2, how.patch_size, how.patch_size, 3), np.uint8)
        return slide.read(part, np.ones_like(which) if self.encode_background else which, memory)

    def close(self) -> None:
        """Stop reading, close every slide, give memory back."""
        super().close()
        self._copies.close()
        self._spare.clear()

    def batches(self, parts: Iterable[tuple[SlideJob, int, NDArray[np.uint8]]]) -> Iterator[dict[str, Any]]:
        """Full batches, and one of what remains of each region or slide that batches stay within.

        What remains goes out with the last part, before the next slide has to be open.
        """
        image, pieces, n_filled = self._empty_batch(), list[Piece](), 0
        for job, region, patches in parts:
            if n_filled and not self._may_share(pieces[-1], job):  # the end of a slide that failed
                yield self._batch(image, n_filled, pieces)
                image, pieces, n_filled = self._empty_batch(), [], 0
            first = 0
            while True:  # once, too, for a region without patches: its piece makes it a region of zeros
                n = min(self.batch_size - n_filled, len(patches) - first)
                image[n_filled : n_filled + n] = torch.from_numpy(patches[first : first + n])
                pieces.append(Piece(job, region, first, n))
                n_filled, first = n_filled + n, first + n
                if n_filled == self.batch_size or (first == len(patches) and n_filled and self._ends(job, region)):
                    yield self._batch(image, n_filled, pieces)
                    image, pieces, n_filled = self._empty_batch(), [], 0
                if first == len(patches):
                    break
            assert isinstance(patches.base, np.ndarray)
            self._spare.append(patches.base)
        if pieces:
            yield self._batch(image, n_filled, pieces)

    def _batch(self, image: Tensor, n_filled: int, pieces: list[Piece]) -> dict[str, Any]:
        if self.fill_up:
            image[n_filled:] = 0
        return {"image": (image if self.fill_up else image[:n_filled]).permute(0, 3, 1, 2), "pieces": pieces}

    def _ends(self, job: SlideJob, region: int) -> bool:
        """No later part may ride in the batch."""
        return self.batch_within == "region" or (self.batch_within == "slide" and region == job.n_regions - 1)

    def _may_share(self, last: Piece, job: SlideJob) -> bool:
        """The batch that ends with another region's piece goes on with a region of a slide."""
        return self.batch_within == "folder" or (self.batch_within == "slide" and last.job is job)

    def _empty_batch(self) -> Tensor:
        shape = (self.batch_size, self.how.patch_size, self.how.patch_size, 3)
        return torch.empty(shape, dtype=torch.uint8, pin_memory=self.pin_memory)
