"""Simulated cohorts: real numbers of regions per slide, features and prototypes with structure."""

from __future__ import annotations

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

_COUNTS = Path(__file__).with_name("regions_per_slide.json")


def regions_per_slide(n_slides: int, seed: int = 0) -> Tensor:
    """Numbers of regions (S,), drawn from those of 180 slides of TCGA-BRCA."""
    counts = torch.tensor(json.loads(_COUNTS.read_text())["counts"])
    generator = torch.Generator().manual_seed(seed)
    return counts[torch.randint(len(counts), (n_slides,), generator=generator)]


def region_features(lengths: Tensor, dim: int = 256, n_kinds: int = 5, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Unit features (N, d) of slides that each hold ``n_kinds`` overlapping kinds of region, and their slides (N,)."""
    generator = torch.Generator().manual_seed(seed)
    slide_index = torch.arange(len(lengths)).repeat_interleave(lengths)
    kinds = torch.randn(len(lengths), n_kinds, dim, generator=generator)
    kind = torch.randint(n_kinds, (len(slide_index),), generator=generator)
    noise = torch.randn(len(slide_index), dim, generator=generator)
    return F.normalize(0.7 * kinds[slide_index, kind] + noise, dim=1), slide_index


def slide_prototypes(
    n_slides: int, size: int, dim: int = 256, n_tissues: int = 20, seed: int = 0, n_directions: int | None = None
) -> Tensor:
    """Unit prototypes (S, K, d), each near one of ``n_tissues`` directions that all slides share.

    Slides differ from each other in all d directions alike, or mostly in the first ``n_directions``.
    """
    generator = torch.Generator().manual_seed(seed)
    tissues = torch.randn(n_tissues, dim, generator=generator)
    found = torch.randn(n_slides, size, dim, generator=generator)
    if n_directions is not None:
        tissues[:, n_directions:] *= 0.1
        found[..., n_directions:] *= 0.1
    found += tissues[torch.randint(n_tissues, (n_slides, size), generator=generator)]
    return F.normalize(found, dim=-1, out=found)
