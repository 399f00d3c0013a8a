"""Single patches of many slides, for stage one."""

import hashlib
import logging
import os
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from ..cohort import SlideRef, SlideTable
from ..core import BundleError, Progress, SlideError, as_bool, as_whole
from .regions import SlideRegions, read_patches
from .settings import ReadSettings
from .slide import Slide

_log = logging.getLogger(__name__)
_MAX_OPEN_SLIDES = 16


class PatchDataset(Dataset[dict[str, Any]]):
    """Tissue patches of all slides; item i -> ``image`` uint8 [3, p, p], ``region_id`` = i, ``slide``.

    Every slide is planned once, at the start; a bad one is left out with a warning. A patch that does not decode later
    is replaced by the next one that does.

    Args:
        slides: what :func:`~bundle.slides.find_slides` gives.
        table: slide table (mpp, roi), or None.
        patches_per_slide: patches drawn from each slide without replacement; None: all.
        cache: decode all patches once and keep them (3 p^2 bytes each), in memory that forked workers share.
        seed: of the draw.
        reading: how slides are read, see :class:`~bundle.slides.ReadSettings`; regions are those by which they are
            planned.

    Attributes:
        slide_ids: one a slide that has patches.

    Raises:
        BundleError: a setting is out of its range, or no slide has a patch.
    """

    def __init__(
        self,
        slides: Sequence[SlideRef],
        *,
        table: SlideTable | None = None,
        patches_per_slide: int | None = None,
        cache: bool = False,
        seed: int = 0,
        **reading: Any,
    ) -> None:
        self._how = ReadSettings(**reading).checked()
        n_patches = None if patches_per_slide is None else as_whole(patches_per_slide, "patches_per_slide", 1)
        self._table = SlideTable({}) if table is None else table
        self._slides: list[SlideRef] = []
        places, reasons = [], []
        for ref in Progress(slides, desc="tissue", unit="slide", leave=False):
            try:
                found = self._places_in(ref, n_patches, seed)
            except BundleError as error:
                _log.warning("left out: %s", error)
                reasons.append(str(error))
                continue
            places.append(np.column_stack([np.full(len(found), len(self._slides)), found]))
            self._slides.append(ref)
        if not places:
            raise BundleError(f"none of {len(slides)} slides has a patch to learn from. The first: {reasons[0]}")
        self._places = np.concatenate(places)
        self.slide_ids = [ref.slide_id for ref in self._slides]
        self._cache = self._decode_all() if as_bool(cache) else None

    def _places_in(self, ref: SlideRef, n: int | None, seed: int) -> NDArray[np.int64]:
        """Region corner and cell of the slide's patches, [n, 4]: x, y, row, column; near ones stay together."""
        planned = SlideRegions(self._opened(ref), self._how, self._row(ref).roi)
        planned.close()
        grid = planned.grid
        regions, rows, columns = np.nonzero(grid.mask)
        places = np.column_stack([grid.coords[regions], rows, columns])
        if n is None or n >= len(places):
            return places
        key = [seed, *ref.slide_id.encode()]
        return places[np.sort(np.random.default_rng(key).choice(len(places), n, replace=False))]

    def _row(self, ref: SlideRef) -> Any:
        return self._table.row(ref.slide_id, ref.path)

    def _opened(self, ref: SlideRef) -> Slide:
        return self._how.open(ref.path, self._row(ref).mpp, ref.slide_id, ref.section)

    @property
    def fingerprint(self) -> str:
        """Hash of which patches of which slides these are, in their order, and of their size."""
        digest = hashlib.sha256("\n".join(self.slide_ids).encode("utf-8", "surrogateescape"))
        digest.update(repr((self._how.mpp, self._how.patch_size)).encode() + self._places.tobytes())
        return digest.hexdigest()[:16]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> dict[str, Any]:
        slide = int(self._places[index, 0])
        image = self._cache[index] if self._cache is not None else self._decode(index)
        return {"image": image, "region_id": index, "slide": slide}

    def _decode(self, index: int) -> Tensor:
        for other in range(index, index + len(self)):
            try:
                return self._patches(np.array([other % len(self)]))[0]
            except SlideError as error:
                _log.warning("another patch instead: %s", error)
        raise BundleError("no patch of any slide can be decoded any more: have the slides been moved?")

    def _patches(self, indices: NDArray[np.int64], n_threads: int = 1) -> Tensor:
        """Patches of one region, uint8 [n, 3, p, p]."""
        slide, x, y = self._places[indices[0], :3]
        mask = np.zeros((self._how.region_patches,) * 2, bool)
        mask[tuple(self._places[indices, 3:].T)] = True
        handle = self._handle(int(slide), os.getpid())
        patches = read_patches(handle, (x, y), mask, **self._how.sizes, n_threads=n_threads)
        return torch.from_numpy(patches).permute(0, 3, 1, 2).contiguous()

    def _decode_all(self) -> Tensor:
        """Region by region: each tile is decoded about once."""
        size = self._how.patch_size
        cache = torch.empty((len(self), 3, size, size), dtype=torch.uint8)
        starts = np.flatnonzero((np.diff(self._places[:, :3], axis=0, prepend=-(2**40)) != 0).any(1))
        kept = np.ones(len(self), bool)
        groups = np.split(np.arange(len(self)), starts[1:])
        for group in Progress(groups, desc="patches", unit="region", leave=False):
            try:
                cache[group] = self._patches(group, torch.get_num_threads())
            except SlideError as error:
                _log.warning("a region is left out: %s", error)
                kept[group] = False
        self._handle.cache_clear()
        self._places = self._places[kept]
        cache = cache if kept.all() else cache[torch.from_numpy(kept)]
        try:
            return cache.share_memory_()
        except RuntimeError as error:
            _log.warning("/dev/shm has no room for the patches in memory (%s): spawned workers get copies", error)
            return cache

    @cached_property
    def _handle(self) -> Any:
        """An open slide, by its number and the process that reads: each opens its own, and keeps a few."""
        return lru_cache(maxsize=_MAX_OPEN_SLIDES)(lambda slide, process: self._opened(self._slides[slide]))

    def __getstate__(self) -> dict[str, Any]:
        """Open files stay behind when the dataset is sent to a spawned worker."""
        return {name: value for name, value in self.__dict__.items() if name != "_handle"}
