"""All regions of a folder of token files as one map-style data set."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from ..cohort import centers_slides
from ..core import BundleError
from .batches import BatchMaker
from .checksums import checked_verify
from .resident import DeviceCache, make_cache
from .token_files import (
    RegionReader,
    check_alike,
    choose_slides,
    find_token_files,
    manifest_of,
    open_token_files,
    without_listed,
)
from .token_header import TokenHeader, unpacked_masks

_READ_TOGETHER = 64  # regions, when statistics are taken


class TokenDataset(Dataset[dict[str, Any]]):
    """Regions of all slides; item -> ``features`` [P, P, D], ``mask`` and ``present`` bool [P, P], ``region_id`` and
    ``slide`` (int).

    ``mask`` says which patches hold tissue, ``present`` which have a token at all. Features come in the files' dtype
    (float16 as a rule). ``region_id`` is the index in this data set, ``slide`` indexes ``slide_ids``. A file that
    cannot be read is left out with a warning. Handles are opened when first needed, so an instance may go into forked
    or spawned workers.

    Args:
        dataset_dir: folder of token files (searched in depth), one file, or a list of files.
        transform: called on each item.
        slides: keep only these slide ids.
        exclude: file of slides to leave out, see :func:`bundle.cohort.without_excluded`; None: all are kept.
        center_tokens: "slide": tokens come less the mean tissue token of their slide, for which each file is read once
            more; None: as they are stored.
        cache: ``device`` keeps all regions on ``device``, batches are gathered there, and workers, which cannot reach
            it, read the files; ``memory`` keeps every region that was read in memory that forked workers share;
            ``none`` keeps nothing; ``auto`` is ``device`` on a GPU where all regions fit into ``memory_share`` of what
            is free there, else ``memory`` where they fit into that share of the machine's memory, else ``none``.
        memory_share: share of the free memory that ``auto`` may fill; the machine's is divided among its processes.
        device: where batches are going. Features that do not lie there are read into pinned memory, where it is a GPU.
        num_workers: reading processes of the loader: with them tokens are kept on the CPU, as they cannot reach a GPU.
        verify: when files are compared with their checksums and looked through for NaN, see :class:`TokenFile`.

    Attributes:
        slide_ids: one a file, in the order of ``slide``.
        slide_paths: names of the slides' own files, "" where one is not recorded.
        slide_index: LongTensor [N], ascending.
        coords: LongTensor [N, 2], level-0 px.
        masks, present: bool [N, P, P].
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
        exclude: str | Path | None = None,
        center_tokens: str | None = None,
        cache: str = "auto",
        memory_share: float = 0.5,
        device: torch.device | str = "cpu",
        num_workers: int = 0,
        verify: str = "first",
    ) -> None:
        self.transform, self.verify = transform, checked_verify(verify)
        self.center_tokens, self._folder = center_tokens, dataset_dir
        base = dataset_dir if isinstance(dataset_dir, str | Path) else "."
        found = find_token_files(dataset_dir)
        paths = without_listed(found, exclude, base)
        manifest = manifest_of(dataset_dir, found, verify)
        files = open_token_files(paths, centers_slides(center_tokens), verify, manifest)
        if slides is not None:
            files = choose_slides(files, slides)
        self.headers: list[TokenHeader] = [file.header for file in files]
        check_alike(self.headers)
        self.slide_ids = [header.slide_id for header in self.headers]
        self.slide_paths = [str(header.attributes.get("slide_path", "")) for header in self.headers]
        counts = torch.tensor([len(file) for file in files])
        self.slide_index: Tensor = torch.arange(len(counts)).repeat_interleave(counts)
        self.coords: Tensor = torch.from_numpy(np.concatenate([file.coords for file in files]))
        bits = np.concatenate([file.layout.bits for file in files])
        self.masks: Tensor = torch.from_numpy(unpacked_masks(bits, self.region_patches))
        is_dense = torch.tensor([file.is_dense for file in files])
        self.present: Tensor = self.masks  # 256 bytes a region, which of 20 million are 5 GB
        if is_dense.any():
            self.present = self.masks | is_dense[self.slide_index, None, None]
        self.dtype = np.result_type(*(header.dtype for header in self.headers))
        self.device = torch.device("cpu" if num_workers else device)
        self._reader = RegionReader(files)
        self._batches = BatchMaker(self._grid, self.dtype, self.device)
        shape, read_into = (len(self), *self._grid), self._reader.read_into
        self._cache = make_cache(cache, memory_share, self.device, shape, self.dtype, read_into, self._batches)

    @property
    def resident(self) -> tuple[str, int]:
        """Where regions stay once they were read ("" for nowhere), and the bytes that all of them take."""
        n_bytes = len(self) * int(np.prod(self._grid)) * self.dtype.itemsize
        if self._cache is None:
            return "", 0
        return str(self.device) if isinstance(self._cache, DeviceCache) else "the machine's memory", n_bytes

    @property
    def token_dim(self) -> int:
        """Length D of a token."""
        return self.headers[0].dim

    def centered(self) -> "TokenDataset":
        """The same regions with tokens less the mean of their slide; nothing is kept in memory."""
        how: dict[str, Any] = {"transform": self.transform, "device": self.device, "verify": self.verify}
        return TokenDataset(self._folder, slides=self.slide_ids, center_tokens="slide", cache="none", **how)

    @property
    def fingerprint(self) -> str:
        """Hash of which slides and regions these are, in their order, and of how their tokens are read."""
        digest = hashlib.sha256("\n".join(self.slide_ids).encode())
        digest.update((self.center_tokens or "").encode())
        digest.update(self.slide_index.numpy().tobytes() + self.coords.numpy().tobytes())
        return digest.hexdigest()[:16]

    @property
    def has_background(self) -> bool:
        """Whether background patches were encoded, in all files."""
        return all(bool(header.attributes.get("encode_background", False)) for header in self.headers)

    @property
    def has_missing(self) -> bool:
        """Whether some patches have no token."""
        return not bool(self.present.all())

    @property
    def region_patches(self) -> int:
        """Patches P on a region's side."""
        return self.headers[0].region_patches

    @property
    def kind(self) -> dict[str, Any]:
        """What files record of how their tokens were made, by which encoders tell whether these are theirs."""
        first = self.headers[0]
        own = {"encoder": first.encoder, "mpp": first.mpp, "region_patches": first.region_patches}
        return {**first.attributes, **own, "encode_background": self.has_background}

    @property
    def encoder(self) -> str:
        """The patch encoder's name and hash."""
        return self.headers[0].encoder

    @property
    def is_cached(self) -> bool:
        """Regions stay in memory, or on the device, once read."""
        return self._cache is not None

    @property
    def is_on_device(self) -> bool:
        """Features come from a GPU's memory, which cannot be pinned."""
        return isinstance(self._cache, DeviceCache) and self.device.type != "cpu"

    def __len__(self) -> int:
        return len(self.slide_index)

    def __getitem__(self, index: int) -> Any:
        return self.__getitems__([range(len(self))[int(index)]])[0]

    def __getitems__(self, indices: Sequence[int]) -> Sequence[Any]:
        """Many items at once, all in one preallocated array."""
        chosen = np.asarray(indices, dtype=np.int64)
        region_id = torch.from_numpy(chosen)
        batch = self._batches.batch(
            {
                "features": self.read(chosen),
                "mask": self.masks.index_select(0, region_id),
                "present": self.present.index_select(0, region_id),
                "region_id": region_id,
                "slide": self.slide_index.index_select(0, region_id),
            }
        )
        return batch if self.transform is None else [self.transform(item) for item in batch]

    def read(self, indices: NDArray[np.int64]) -> Tensor:
        """Token grids [n, P, P, D] of the regions ``indices``."""
        is_out_of_reach = isinstance(self._cache, DeviceCache) and self._batches.is_elsewhere
        if self._cache is not None and not is_out_of_reach:
            return self._cache.read(indices)
        out = self._batches(len(indices))
        self._reader.read_into(indices, out.numpy(), np.arange(len(indices)))
        return out

    def region_names(self, indices: Iterable[int]) -> list[str]:
        """Slide and number within it of each region, in words: ``slide_3 region 5``."""
        first = torch.searchsorted(self.slide_index, torch.arange(len(self.slide_ids)))
        slides = [(index, int(self.slide_index[index])) for index in indices]
        return [f"{self.slide_ids[slide]} region {index - int(first[slide])}" for index, slide in slides]

    def statistics(self, max_regions: int = 1024) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation [D] of each value over the tokens that are there, float32.

        Args:
            max_regions: as many regions are read, evenly spread over all slides.
        """
        chosen = np.unique(np.linspace(0, len(self) - 1, max(1, min(max_regions, len(self)))).astype(np.int64))
        sums = torch.zeros(2, self.token_dim, dtype=torch.float64)
        shift, n = None, 0
        for rows in np.array_split(chosen, -(-len(chosen) // _READ_TOGETHER)):
            tokens = self.read(rows).cpu()[self.present[torch.from_numpy(rows)]].double()
            if not len(tokens):
                continue
            if shift is None:
                shift = tokens.mean(0)  # near the mean: squares of what is left cancel nothing
            sums += torch.stack([(tokens - shift).sum(0), (tokens - shift).square().sum(0)])
            n += len(tokens)
        if shift is None:
            raise BundleError(
                f"none of {len(chosen)} regions that were looked at has a token: there are no statistics."
            )
        mean, square = sums / n
        return (mean + shift).float(), (square - mean.square()).clamp(min=0).sqrt().float()

    @property
    def _grid(self) -> tuple[int, int, int]:
        return self.region_patches, self.region_patches, self.token_dim

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_cache": None}  # a spawned process does not share the memory
