"""Simulated cohorts: real numbers of regions per slide, features and prototypes with structure."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from bundle.storage import RegionBatch

_COUNTS = Path(__file__).with_name("regions_per_slide.json")


class MadeUpTokens(Dataset[dict[str, Any]]):
    """Token grids without files, with as much of a :class:`~bundle.storage.TokenDataset` as training asks for.

    Args:
        slide_ids: S.
        n_regions: of each slide, LongTensor [S].
        token_dim: D.

    Attributes:
        slide_index: slide of each region, [N].
    """

    has_background = is_on_device = False
    has_missing = True
    encoder = "made up"

    def __init__(self, slide_ids: Sequence[str], n_regions: Tensor, token_dim: int) -> None:
        self.slide_ids, self.token_dim = list(slide_ids), token_dim
        self.slide_index = torch.arange(len(slide_ids)).repeat_interleave(n_regions)
        self.fingerprint = f"{len(self)} made-up regions"

    @abstractmethod
    def grids(self, region_id: Tensor) -> tuple[Tensor, Tensor]:
        """Token grids [n, P, P, D] and masks [n, P, P] of regions."""

    def statistics(self, max_regions: int = 1024) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation [D] of each value over the tokens that are there, from evenly spread regions."""
        chosen = torch.linspace(0, len(self) - 1, min(max_regions, len(self))).long()
        features, mask = self.grids(chosen)
        tokens = features[mask].float()
        return tokens.mean(0), tokens.std(0, correction=0)

    def __len__(self) -> int:
        return len(self.slide_index)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.__getitems__([int(index)])[0]

    def __getitems__(self, indices: Sequence[int]) -> RegionBatch:
        """A batch, as :func:`~bundle.storage.collate_regions` takes it."""
        region_id = torch.as_tensor(indices)
        features, mask = self.grids(region_id)
        slide = self.slide_index[region_id]
        masks = {"mask": mask, "present": mask}
        return RegionBatch({"features": features, **masks, "region_id": region_id, "slide": slide})


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
