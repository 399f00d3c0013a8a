"""All regions of a folder of token files as one map-style data set."""

import hashlib
import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from ..cohort import BundleError
from .files import check_alike, choose_slides, find_token_files, open_token_files
from .memory import available_memory, shared_array
from .store import TokenHeader

logger = logging.getLogger(__name__)
_MAX_OPEN_FILES = 128


class RegionBatch(list[dict[str, Any]]):
    """Items whose tensors are views of one batch, kept in ``stacked`` for :func:`collate_regions`."""

    def __init__(self, stacked: dict[str, Tensor]) -> None:
        self.stacked = stacked
        region_ids, slides = stacked["region_id"].tolist(), stacked["slide"].tolist()
        super().__init__(
            {"features": features, "mask": mask, "region_id": region_id, "slide": slide}
            for features, mask, region_id, slide in zip(
                stacked["features"], stacked["mask"], region_ids, slides, strict=True
            )
        )


class TokenDataset(Dataset[dict[str, Any]]):
    """Regions of all slides; item -> ``features`` [P, P, D], ``mask`` bool [P, P], ``region_id`` and ``slide`` (int).

    Features come in the files' dtype (float16 as a rule). ``region_id`` is the index in this data set, ``slide``
    indexes ``slide_ids``. A file that cannot be read is left out with a warning. Handles are opened when first needed,
    so an instance may go into forked or spawned workers.

    Args:
        dataset_dir: folder of token files (searched in depth), one file, or a list of files.
        transform: called on each item.
        slides: keep only these slide ids.
        cache: ``memory`` keeps every region that was read in memory that forked workers share; ``none`` keeps nothing;
            ``auto`` is ``memory`` where all regions fit into ``memory_share`` of the free memory.
        memory_share: share of the free memory that ``auto`` may fill, divided among this machine's processes.

    Attributes:
        slide_ids: one a file, in the order of ``slide``.
        slide_index: LongTensor [N], ascending.
        coords: LongTensor [N, 2], level-0 px.
        masks: bool [N, P, P].
        headers: one :class:`TokenHeader` a slide.

    Raises:
        BundleError: nothing to read, or files that do not belong together (another encoder, mpp, D or grid size).
    """

    def __init__(
        self,
        dataset_dir: str | Path | Sequence[str | Path],
        *,
        transform: Callable[[dict[str, Any]], Any] | None = None,
        slides: Iterable[str] | None = None,
        cache: str = "auto",
        memory_share: float = 0.5,
    ) -> None:
        self.transform = transform
        self._files = open_token_files(find_token_files(dataset_dir))
        if slides is not None:
            self._files = choose_slides(self._files, slides)
        self.headers: list[TokenHeader] = [file.header for file in self._files]
        check_alike(self.headers)
        self.slide_ids = [header.slide_id for header in self.headers]
        counts = torch.tensor([len(file) for file in self._files])
        self.slide_index: Tensor = torch.arange(len(counts)).repeat_interleave(counts)
        self._first = np.concatenate([[0], counts.cumsum(0).numpy()])
        self.coords: Tensor = torch.from_numpy(np.concatenate([file.coords for file in self._files]))
        self.masks: Tensor = torch.from_numpy(np.concatenate([file.mask for file in self._files]))
        self.dtype = np.result_type(*(header.dtype for header in self.headers))
        self._forget_process()
        self._cache, self._is_cached = self._make_cache(cache, memory_share)

    @property
    def token_dim(self) -> int:
        """Length D of a token."""
        return self.headers[0].dim

    @property
    def fingerprint(self) -> str:
        """Hash of which slides and regions these are, in their order."""
        digest = hashlib.sha256("\n".join(self.slide_ids).encode())
        digest.update(self.slide_index.numpy().tobytes() + self.coords.numpy().tobytes())
        return digest.hexdigest()[:16]

    @property
    def has_background(self) -> bool:
        """Whether background patches were encoded, in all files."""
        return all(bool(header.attributes.get("encode_background", False)) for header in self.headers)

    @property
    def region_patches(self) -> int:
        """Patches P on a region's side."""
        return self.headers[0].region_patches

    @property
    def encoder(self) -> str:
        """The patch encoder's name and hash."""
        return self.headers[0].encoder

    @property
    def is_cached(self) -> bool:
        """Regions stay in memory once read."""
        return self._cache is not None

    def __len__(self) -> int:
        return len(self.slide_index)

    def __getitem__(self, index: int) -> Any:
        return self.__getitems__([range(len(self))[int(index)]])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """Many items at once, all in one preallocated array."""
        chosen = np.asarray(indices, dtype=np.int64)
        region_id = torch.from_numpy(chosen)
        batch = RegionBatch(
            {
                "features": self.read(chosen),
                "mask": self.masks[region_id],
                "region_id": region_id,
                "slide": self.slide_index[region_id],
            }
        )
        return batch if self.transform is None else [self.transform(item) for item in batch]

    def read(self, indices: NDArray[np.int64]) -> Tensor:
        """Token grids [n, P, P, D] of the regions ``indices``."""
        if self._cache is None or self._is_cached is None:
            out = np.empty((len(indices), *self._grid), self.dtype)
            self._fill(indices, out, np.arange(len(indices)))
            return torch.from_numpy(out)
        missing = indices[~self._is_cached[indices]]
        if len(missing):
            self._fill(missing, self._cache, missing)
            self._is_cached[missing] = True
        return torch.from_numpy(self._cache).index_select(0, torch.from_numpy(indices))

    @property
    def _grid(self) -> tuple[int, int, int]:
        return self.region_patches, self.region_patches, self.token_dim

    def _fill(self, indices: NDArray[np.int64], out: NDArray[Any], rows: NDArray[np.int64]) -> None:
        """Read regions to ``out[rows]``, file by file and in the order in which they lie on disk."""
        order = np.argsort(indices, kind="stable")
        indices, rows = indices[order], rows[order]
        slides = self.slide_index.numpy()[indices]
        starts = np.flatnonzero(np.diff(slides, prepend=-1))
        for start, stop in zip(starts, [*starts[1:], len(slides)], strict=True):
            slide = int(slides[start])
            regions = (indices[start:stop] - self._first[slide]).tolist()
            self._files[slide].read_into(regions, out, rows[start:stop].tolist(), self._handle(slide))

    def _handle(self, slide: int) -> Any:
        """A handle from the most recently used ones; a thread that still reads an evicted one keeps it alive."""
        with self._lock:
            handle = self._handles.pop(slide, None) or self._files[slide].open()
            self._handles[slide] = handle
            while len(self._handles) > _MAX_OPEN_FILES:
                self._handles.popitem(last=False)
        return handle

    def _make_cache(self, cache: str, share: float) -> tuple[NDArray[Any] | None, NDArray[np.bool_] | None]:
        if cache not in ("auto", "memory", "none"):
            raise BundleError(f"cache is {cache!r}; choose auto, memory or none.")
        shape = (len(self), *self._grid)
        needed = int(np.prod(shape)) * np.dtype(self.dtype).itemsize
        n_processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        free = available_memory() // n_processes
        if cache == "none" or (cache == "auto" and needed > share * free):
            return None, None
        if needed > free:
            raise BundleError(
                f"cache=memory needs {needed / 1e9:.1f} GB a process and {free / 1e9:.1f} GB are free; "
                "choose cache=auto or none."
            )
        try:
            return shared_array(shape, self.dtype), shared_array((len(self),), bool)
        except OSError as error:
            logger.warning("regions are not kept in memory: %s", error)
            return None, None

    def _forget_process(self) -> None:
        self._handles: OrderedDict[int, Any] = OrderedDict()
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("_handles", "_lock", "_cache", "_is_cached")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._cache = self._is_cached = None  # a spawned process does not share the memory
        self._forget_process()


def collate_regions(items: Sequence[Any]) -> Any:
    """``collate_fn`` for :class:`TokenDataset`: takes the batch as it was read, without copying it again."""
    return items.stacked if isinstance(items, RegionBatch) else default_collate(list(items))
