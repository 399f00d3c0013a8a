"""What an epoch of training reads: its order, the tokens of all regions, and the crops that are cut from them."""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bundle.storage import RegionBatchSampler, TokenDataset, training_loader
from bundle.training import RandTokenCropsd

from ..pins.token_files import write_tokens
from .cohort import regions_per_slide

DIM, BATCH = 384, 128
_COUNTER = Path("/proc/self/io")


def sampler(n_slides: int) -> RegionBatchSampler:
    """Of the regions of so many slides; iterated over it draws an epoch's order and gives the regions of each batch."""
    n_regions = int(regions_per_slide(n_slides).sum())
    found = RegionBatchSampler(n_regions, min(BATCH, n_regions))
    found.set_epoch(1)
    return found


def reading(n_slides: int) -> dict[str, Any]:
    """Epochs of ``configs/train.yaml``'s loader over token files of as many slides, nothing kept in memory.

    Returns:
        ``regions`` of an epoch; ``bytes`` that it asks the system for; seconds to ``read`` all batches, and with the
        paper's ten ``crops`` of each region cut on the CPU, as a step takes them. Files were written just before and
        lie in the page cache as far as it has room.
    """
    counts = regions_per_slide(n_slides).tolist()
    with TemporaryDirectory() as folder:
        for slide, n_regions in enumerate(counts):
            write_tokens(Path(folder) / f"slide_{slide:05d}.h5", n_regions, DIM, slide)
        dataset = TokenDataset(folder, cache="none")
        loader = training_loader(dataset, min(BATCH, len(dataset)))
        crops, before = RandTokenCropsd(), _bytes_read()
        times = [time.perf_counter()]
        for _ in loader:
            pass
        times.append(time.perf_counter())
        n_bytes = _bytes_read() - before
        for batch in loader:
            crops({**batch, "epoch": 1})
        times.append(time.perf_counter())
    n_regions = len(loader) * min(BATCH, len(dataset))
    return {"regions": n_regions, "bytes": n_bytes, "read": times[1] - times[0], "crops": times[2] - times[1]}


def _bytes_read() -> int:
    """What this process has asked the system for so far, from the page cache or not; 0 where nobody counts."""
    if not _COUNTER.exists():
        return 0
    return int(_COUNTER.read_text().split("rchar:")[1].split()[0])
