"""The patches of slides as a config's ids state them, and read as weights say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from ..cohort import SlideRef, SlideTable
from ..networks import StatedReading
from ..slides import LocalCopies
from .slide_source import PatchStream


def patch_stream(
    slides: Sequence[SlideRef],
    slide_tokens_dir: str | Path,
    reading: StatedReading,
    table: SlideTable | None = None,
    wsi_reader: str = "auto",
    default_mpp: float | None = None,
    max_enlarge: float = 1.25,
    min_tissue: float = 0.1,
    min_tissue_patches: int = 8,
    keep_fat: bool = True,
    batch_size: int = 256,
    batch_within: str = "slide",
    num_workers: int = 4,
    device: torch.device | str = "cpu",
    compile: bool = False,
    slide_cache: str | Path | None = None,
    slide_cache_gb: float = 50.0,
) -> PatchStream:
    """:class:`~bundle.pipelines.PatchStream` with the ids of ``configs/tokenize.yaml``; batches are pinned for a GPU.

    Args:
        slides: what :func:`~bundle.slides.find_slides` found.
        slide_tokens_dir: where each slide's token file will be.
        reading: um/px, sizes of patches and regions, whether background is encoded.
        table, wsi_reader, default_mpp, max_enlarge, min_tissue, min_tissue_patches, keep_fat: see that config.
        batch_size, batch_within, num_workers, device: the same.
        compile: the encoder is, for one shape of batch: all are of ``batch_size``.
        slide_cache, slide_cache_gb: folder and room of :class:`~bundle.slides.LocalCopies`.

    Raises:
        SettingError: a setting is out of its range.
    """
    return PatchStream(
        slides,
        slide_tokens_dir,
        table=table,
        batch_size=batch_size,
        batch_within=batch_within,
        fill_up=compile,
        num_workers=num_workers,
        pin_memory=torch.device(device).type == "cuda",
        copies=LocalCopies(slide_cache, slide_cache_gb),
        wsi_reader=wsi_reader,
        default_mpp=default_mpp,
        max_enlarge=max_enlarge,
        min_tissue=min_tissue,
        min_tissue_patches=min_tissue_patches,
        keep_fat=keep_fat,
        **reading._asdict(),
    )
