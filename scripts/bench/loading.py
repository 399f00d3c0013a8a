"""An epoch of loading regions beside the plain way, which is h5py and what torch's loader does by itself."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bundle.storage import TokenDataset, collate_regions

from .measure import Case, Variant

Way = tuple[TokenDataset, Callable[..., Any] | None]  # regions, and how they become a batch
_LARGE = 256  # regions, 50 MB: as validation and probes take them


class PlainRegions(Dataset[dict[str, Any]]):
    """The items of a :class:`TokenDataset`, read with h5py one by one; files stay open."""

    def __init__(self, dataset: TokenDataset) -> None:
        self.paths = [header.path for header in dataset.headers]
        self.slide_index, self.masks = dataset.slide_index.numpy(), dataset.masks
        self.first = np.searchsorted(self.slide_index, np.arange(len(self.paths)))
        self._open: dict[int, Any] = {}

    def __len__(self) -> int:
        return len(self.slide_index)

    def __getitem__(self, index: int) -> dict[str, Any]:
        features, slide = torch.from_numpy(self._tokens(index)), int(self.slide_index[index])
        return {
            "features": features,
            "mask": self.masks[index],
            "present": self.masks[index],
            "region_id": int(index),
            "slide": slide,
        }

    def read(self, indices: NDArray[np.int64]) -> NDArray[Any]:
        """Token grids [n, P, P, D], read in the order in which they lie on disk."""
        out = np.empty((len(indices), *self._tokens(int(indices[0])).shape), np.float16)
        for row in np.argsort(indices, kind="stable").tolist():
            out[row] = self._tokens(int(indices[row]))
        return out

    def _tokens(self, index: int) -> NDArray[Any]:
        slide = int(self.slide_index[index])
        if slide not in self._open:
            self._open[slide] = h5py.File(self.paths[slide], "r", locking=False)["features"]
        return np.asarray(self._open[slide][int(index - self.first[slide])])


def loading_cases(
    dataset: TokenDataset, in_memory: TokenDataset, batches: Sequence[NDArray[np.int64]], n_workers: int
) -> list[Case]:
    """What each part of loading beyond the plain way gains, in the epoch that it serves.

    Args:
        dataset: keeps nothing.
        in_memory: the same regions, kept.
        batches: regions of each batch.
        n_workers: of the loaders that have some.
    """
    large = np.split(np.concatenate(batches), range(_LARGE, sum(map(len, batches)), _LARGE))
    copying: TokenDataset = copy.deepcopy(dataset)  # without the memory that it shares with workers
    plain = PlainRegions(dataset)
    reads = [
        Variant("h5py", "reference", lambda: [plain.read(batch) for batch in batches]),
        Variant("pread", "ours", lambda: [copying.read(batch) for batch in batches]),
    ]
    usual, files, memory = (copying, collate_regions), (dataset, collate_regions), (in_memory, collate_regions)
    ours = {"ours, from files": files, "ours, in memory": memory}
    alone = {"pread, torch's collation": (dataset, None), "pread, a batch at once": usual} | ours
    fresh = {"ours, into fresh memory": usual, "ours, from files": files}
    title = "reads in the files' order, in the page cache"
    return [
        Case("store", title, reads, sum(map(len, batches)), "regions"),
        _case("no workers", batches, 0, alone, dataset),
        _case(f"{n_workers} workers", batches, n_workers, {"ours, sent the usual way": usual} | ours, dataset),
        _case(f"no workers, batches of {_LARGE}", large, 0, fresh, dataset),
    ]


def _case(
    title: str, batches: Sequence[NDArray[np.int64]], n_workers: int, ways: Mapping[str, Way], dataset: TokenDataset
) -> Case:
    def epoch(dataset: Dataset[Any], collate: Callable[..., Any] | None) -> Callable[[], None]:
        chosen = [batch.tolist() for batch in batches]
        has_workers = n_workers > 0
        loader: Iterable[dict[str, Tensor]] = DataLoader(
            dataset, batch_sampler=chosen, num_workers=n_workers, persistent_workers=has_workers, collate_fn=collate
        )

        def run() -> None:
            for _ in loader:
                pass

        return run

    variants = [Variant("h5py, item by item", "reference", epoch(PlainRegions(dataset), None))]
    variants += [Variant(name, "ours", epoch(*way)) for name, way in ways.items()]
    note = "Files are in the page cache. Whole regions, float16, nothing is done with them."
    return Case("store", f"epoch of loading, {title}", variants, sum(map(len, batches)), "regions", note=note)
