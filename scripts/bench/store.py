"""Regions from the token store, read bare and by loaders, beside a server that hands out float32 regions."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bundle.core import available_memory
from bundle.storage import TokenDataset, TokenFile, collate_regions
from bundle.training import RandTokenCropsd

from ..pins.token_files import write_tokens
from .cohort import regions_per_slide
from .loading import loading_cases
from .measure import Case, Variant
from .region_server import FetchedCrops, RegionServer

_SIDE, _BATCH, _WORKERS = 16, 64, 2
_SPARE_BYTES = 1 << 30


class Store:
    """A folder of token files of random tokens, and ways to read them; all of it is made when first needed.

    Args:
        n_regions: N.
        dim: D.
        n_batches: batches of a run, of 64 regions drawn at random without repetition.
        device: where batches end.
    """

    def __init__(self, n_regions: int = 3000, dim: int = 384, n_batches: int = 32, device: str = "cpu") -> None:
        self.n_regions, self.dim, self.device = n_regions, dim, device
        order = np.random.default_rng(0).permutation(n_regions)[: n_batches * _BATCH]
        self.batches: list[NDArray[np.int64]] = [order[i : i + _BATCH] for i in range(0, len(order), _BATCH)]
        self.n_read = len(order)
        self.crops = RandTokenCropsd()

    @cached_property
    def folder(self) -> TemporaryDirectory[str]:
        """The files; they go when this object does."""
        folder = TemporaryDirectory()
        left, slide = self.n_regions, 0
        counts = regions_per_slide(self.n_regions).tolist()
        while left > 0:
            n = min(left, counts[slide])
            write_tokens(Path(folder.name) / f"slide_{slide:04d}.h5", n, self.dim, slide)
            left, slide = left - n, slide + 1
        return folder

    @cached_property
    def server(self) -> RegionServer:
        """The other way."""
        return RegionServer(Path(self.folder.name))

    @cached_property
    def on_disk(self) -> TokenDataset:
        """Every read goes to the file."""
        return TokenDataset(self.folder.name, cache="none")

    @cached_property
    def in_memory(self) -> TokenDataset:
        """Files are read once."""
        return TokenDataset(self.folder.name, cache="memory")

    @cached_property
    def fetching_loader(self) -> Iterable[list[Tensor]]:
        """Regions are fetched, and crops are cut, in workers."""
        return self._loader(FetchedCrops(self.server))

    @cached_property
    def reading_loader(self) -> Iterable[dict[str, Tensor]]:
        """Regions are read in workers."""
        return self._loader(self.on_disk, collate_fn=collate_regions)

    @cached_property
    def resident_loader(self) -> Iterable[dict[str, Tensor]]:
        """Regions are in this process."""
        return DataLoader(
            self.in_memory, batch_sampler=[batch.tolist() for batch in self.batches], collate_fn=collate_regions
        )

    def fetch(self) -> None:
        """Region by region from the server."""
        for batch in self.batches:
            for region in batch.tolist():
                self.server.fetch(region)

    def read(self) -> None:
        """Batch by batch from the store."""
        for batch in self.batches:
            self.on_disk.read(batch)

    def read_bare(self) -> None:
        """The same bytes, one system call a region, always into the same memory."""
        for places in self._places:
            for row, (handle, offset) in enumerate(places):
                os.preadv(handle.fileno(), [self._rows[row]], offset)

    def fetch_views(self) -> None:
        """An epoch of the fetching loader, on the device."""
        for views in self.fetching_loader:
            for view in views:
                view.to(self.device, non_blocking=True)

    def views(self, loader: Callable[[], Iterable[dict[str, Tensor]]]) -> Callable[[], None]:
        """An epoch of a loader of regions; crops are gathered on the device."""

        def run() -> None:
            for batch in loader():
                on_device: dict[Any, Any] = {k: v.to(self.device, non_blocking=True) for k, v in batch.items()}
                self.crops({**on_device, "epoch": 1})

        return run

    def regions(self, loader: Callable[[], Iterable[dict[str, Tensor]]]) -> Callable[[], None]:
        """An epoch of a loader of regions."""

        def run() -> None:
            for batch in loader():
                batch["features"].to(self.device, non_blocking=True)

        return run

    def cold(self, run: Callable[[], None]) -> Callable[[], None]:
        """``run`` with no token file in the page cache; dropping them is part of it."""

        def wrapped() -> None:
            for path in Path(self.folder.name).iterdir():
                with path.open("rb") as file:
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            run()

        return wrapped

    @cached_property
    def _places(self) -> list[list[tuple[Any, int]]]:
        """Handle and offset of each region of each batch."""
        index = self.on_disk.slide_index.numpy()
        files = [TokenFile(header.path) for header in self.on_disk.headers]
        handles = [file.open() for file in files]
        first = np.searchsorted(index, np.arange(len(files)))

        def place(region: int) -> tuple[Any, int]:
            slide = index[region]
            offset = files[slide].offset(region - first[slide])
            assert offset is not None
            return handles[slide], offset

        return [[place(region) for region in batch] for batch in self.batches]

    @cached_property
    def _rows(self) -> list[memoryview]:
        return [row.data for row in np.zeros((_BATCH, _SIDE * _SIDE * self.dim * 2), np.uint8)]

    def _loader(self, dataset: Dataset[Any], **options: Any) -> DataLoader[Any]:
        batches = [batch.tolist() for batch in self.batches]
        return DataLoader(dataset, batch_sampler=batches, num_workers=_WORKERS, persistent_workers=True, **options)


def cases(device: str, threads: int) -> list[Case]:
    """Bare reads, a loader with two workers, a loader without, and reads from the disk."""
    per_region = _SIDE * _SIDE * 384 * 2
    room = min(shutil.disk_usage(gettempdir()).free, available_memory() // 4) - _SPARE_BYTES
    return store_cases(Store(n_regions=max(256, min(3000, room // per_region)), device=device))


def store_cases(store: Store) -> list[Case]:
    """The cases for a store."""
    other = "a stand-in for Redis"
    bare = Variant("pread alone", "limit", store.read_bare)
    fetched = Variant(f"{other}, 10 crops in 2 workers", "reference", store.fetch_views)
    found = [
        Case(
            "store",
            f"reads in random order, in the page cache; float32 from {other}, float16 from files",
            [Variant(f"{other}, one by one", "reference", store.fetch), Variant("ours", "ours", store.read), bare],
            goal={"ours": 4.0},  # the system call alone is six times the stand-in, and ten times Redis
            note="One process reads. The stand-in was measured to be 1.6 times as fast as Redis.",
            work=store.n_read,
            unit="regions",
        )
    ]
    loaders: dict[str, tuple[Callable[[], Iterable[dict[str, Tensor]]], float]] = {
        "2 workers": (lambda: store.reading_loader, 4.0),
        "tokens in memory, no workers": (lambda: store.resident_loader, 10.0),
    }
    note = "On a CPU the crops are cut by the training process, on a GPU they cost it nothing."
    for title, (loader, goal) in loaders.items():
        whole = Variant("ours, whole regions", "ours", store.regions(loader))
        ways = [fetched, whole, Variant("ours, 10 crops on the device", "ours", store.views(loader)), bare]
        found.append(Case("store", f"loader, {title}", ways, store.n_read, "regions", {whole.name: goal}, note))
    if hasattr(os, "posix_fadvise"):
        ways = [
            Variant("pread, one by one", "reference", store.cold(store.read_bare)),
            Variant("ours", "ours", store.cold(store.read)),
        ]
        note = "Dropping the files from the page cache is part of both."
        found.append(Case("store", "reads in random order, from the disk", ways, store.n_read, "regions", note=note))
    return found + loading_cases(store.on_disk, store.in_memory, store.batches, _WORKERS)
