"""The loader of a training: global batches by seed and epoch alone, dealt out to the ranks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..core import as_whole
from ..parallel import outlive_signals
from .batches import collate_regions
from .sampler import RegionBatchSampler


def training_loader(
    dataset: Dataset[Any],
    batch_size: int,
    device: torch.device | str = "cpu",
    num_workers: int = 0,
    seed: int = 0,
    rank: int = 0,
    world_size: int = 1,
    trained_regions: Tensor | None = None,
    slides_per_batch: int = 0,
) -> DataLoader[Any]:
    """Batches of regions (:class:`~bundle.storage.TokenDataset`) or patches, pinned where they go to a GPU.

    Args:
        dataset: items; with ``slide_index`` where ``slides_per_batch`` is asked for.
        batch_size: items of a batch, over all ranks.
        device: where batches go.
        num_workers: reading processes; they stay from epoch to epoch.
        seed, rank, world_size, slides_per_batch: see :class:`~bundle.storage.RegionBatchSampler`.
        trained_regions: the items that are dealt out; None: all.

    Raises:
        SettingError: a number below its range.
    """
    sampler = RegionBatchSampler(
        len(dataset),  # type: ignore[arg-type]
        batch_size,
        seed=seed,
        rank=rank,
        world_size=world_size,
        chosen=trained_regions,
        slide_index=getattr(dataset, "slide_index", None),
        slides_per_batch=slides_per_batch,
    )
    num_workers = as_whole(num_workers, "num_workers")
    is_far = torch.device(device).type == "cuda" and not getattr(dataset, "is_on_device", False)
    return DataLoader(
        dataset,
        num_workers=num_workers,
        pin_memory=is_far,
        persistent_workers=num_workers > 0,
        worker_init_fn=outlive_signals,
        collate_fn=collate_regions,
        batch_sampler=sampler,
    )
