"""A batch of regions as it was read, and the memory that it is read into."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate

from .batch_memory import BatchRoom, RoomBatch

logger = logging.getLogger(__name__)


class RegionBatch(Sequence[dict[str, Any]]):
    """Items whose tensors are views of one batch, kept in ``stacked`` for :func:`collate_regions`."""

    def __init__(self, stacked: dict[str, Tensor]) -> None:
        self.stacked = stacked

    def __len__(self) -> int:
        return len(self.stacked["region_id"])

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...  # noqa: E704

    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Any]]: ...  # noqa: E704

    def __getitem__(self, index: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        item: dict[str, Any] = {name: self.stacked[name][index] for name in ("features", "mask")}
        return item | {name: int(self.stacked[name][index]) for name in ("region_id", "slide")}


class BatchMaker:
    """Memory for batches that has been used before, where there is some.

    For a GPU, batches of the process that made it are pinned; torch keeps pinned memory and uses it again.

    Args:
        shape: of one region, (P, P, D).
        dtype: of a token.
        device: where batches are going.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype, device: torch.device) -> None:
        self._shape, self._dtype = shape, dtype
        self._pins = device.type == "cuda"
        self._maker = os.getpid()
        self._room: BatchRoom | None = None
        try:
            self._room = BatchRoom(shape, dtype)
        except (OSError, ValueError) as error:  # Windows cannot fork
            logger.debug("batches are allocated one by one: %s", error)

    @property
    def is_elsewhere(self) -> bool:
        """This process is another one than that which made it."""
        return os.getpid() != self._maker

    def __call__(self, n: int) -> Tensor:
        """A tensor [n, P, P, D] of whatever was there before."""
        shape = (n, *self._shape)
        if self._pins and not self.is_elsewhere:  # a forked process must leave CUDA alone
            return torch.empty(shape, dtype=torch.from_numpy(np.empty(0, self._dtype)).dtype, pin_memory=True)
        lent = None if self._room is None else self._room.take(n)
        return torch.from_numpy(np.empty(shape, self._dtype)) if lent is None else lent

    def batch(self, stacked: dict[str, Tensor]) -> RegionBatch:
        """What was read, ready to be sent where the loader wants it."""
        if self._room is not None and self._room.is_elsewhere:
            return RegionBatch(RoomBatch(stacked, self._room.key))
        return RegionBatch(stacked)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_room": None}  # a spawned process does not share the memory


def collate_regions(items: Sequence[Any]) -> Any:
    """``collate_fn`` for :class:`TokenDataset`: takes the batch as it was read, without copying it again."""
    return items.stacked if isinstance(items, RegionBatch) else default_collate(list(items))
