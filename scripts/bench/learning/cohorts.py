"""Planted cohorts in memory: levels of difficulty of the same slides."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bundle.demo import PlantedCohort, PlantedSlide, planted_tokens

from ..cohort import MadeUpTokens

_PLANTED: dict[str, Any] = {"dim": 32, "in_turn": True, "region_patches": 8, "cells": 3, "slide_shift": 0.1}
_NUISANCE = {"slide_shift": 0.5, "slide_gain": 0.1, "n_sites": 3, "site_shift": 0.5, "site_gain": 0.1}
_CENTERED = "is_centered"
_FINE = 0.45  # blobs of a region, in tokens
LEVELS: dict[str, dict[str, Any]] = {
    "easy": {"proportion": 1.0},  # the shares of token types differ between the classes
    "medium": {"proportion": 0.0},  # only how finely types are mixed does
    "hard": {"proportion": 0.0, **_NUISANCE},  # and each slide and site has a stain
    "harmonized": {"proportion": 0.0, "noise": 2.4, **_NUISANCE, _CENTERED: True},  # hard, less each slide's mean
    "region28": {"proportion": 0.0, "region_shift": 0.28},  # medium, and each region has a shift of its own
    "region85": {"proportion": 0.0, "region_shift": 0.85},
    "shares": {"proportion": 1.0, "widths": (_FINE, _FINE), "slide_shift": 0.5},  # the class is in the mean token alone
    "order": {"proportion": 0.0, "cells": 1},  # medium, but tokens are not mixed: a bag of them does not know the class
}


class Size(NamedTuple):
    """How large a cohort is."""

    n_slides: int = 64  # trained on
    regions: tuple[int, int] = (14, 22)  # least and most of a slide
    n_held_out: int = 128  # further slides, which are never trained on and on which all scores are taken; 0: the same


class PlantedTokens(MadeUpTokens):
    """A planted cohort, all of it in memory.

    Args:
        cohort: slides and truth.
        held_out: other slides of the same kind; None: these themselves.

    Attributes:
        held_out: the slides on which embeddings are to be scored.
        prototypes: planted prototype of each region, int64 [N].
        n_prototypes: how many are planted.
        labels, sites: of each slide, int64 [S].
    """

    def __init__(self, cohort: PlantedCohort, held_out: PlantedTokens | None = None) -> None:
        slides = cohort.slides
        counts = torch.tensor([len(slide.coords) for slide in slides])
        super().__init__([slide.slide_id for slide in slides], counts, slides[0].features.shape[-1])
        self.held_out: PlantedTokens = self if held_out is None else held_out
        self.features = torch.from_numpy(np.concatenate([slide.features for slide in slides]))
        self.masks = torch.from_numpy(np.concatenate([slide.mask for slide in slides]))
        self.prototypes: NDArray[np.int64] = np.concatenate([slide.prototype for slide in slides])
        self.n_prototypes = len(cohort.shares)
        self.labels = np.array([slide.label for slide in slides])
        self.sites = np.array([slide.site for slide in slides])

    @property
    def present(self) -> Tensor:
        """Which patches have a token: those with tissue, bool [N, P, P]."""
        return self.masks

    def grids(self, region_id: Tensor) -> tuple[Tensor, Tensor]:
        """Token grids [n, P, P, D] and masks [n, P, P]."""
        return self.features[region_id], self.masks[region_id]

    def read(self, indices: NDArray[np.int64]) -> Tensor:
        """Token grids [n, P, P, D]."""
        return self.features[torch.from_numpy(indices)]

    def mean_tokens(self) -> NDArray[np.float32]:
        """Mean over each region's tissue tokens, [N, D]."""
        weight = self.masks.float().unsqueeze(-1)
        return ((self.features.float() * weight).sum((1, 2)) / weight.sum((1, 2)).clamp(min=1)).numpy()

    def oracle(self) -> NDArray[np.float32]:
        """What an encoder that knows the truth would say of each region: its prototype, one-hot [N, P]."""
        return np.eye(self.n_prototypes, dtype=np.float32)[self.prototypes]


def make_cohort(level: str, seed: int, size: Size) -> PlantedTokens:
    """The slides of a seed at a level; other levels of the seed are the same slides, planted otherwise."""
    n_slides, n_all = size.n_slides, size.n_slides + size.n_held_out
    cohort = plant(level, seed, n_all, size.regions)
    rest = PlantedTokens(cohort._replace(slides=cohort.slides[n_slides:])) if size.n_held_out else None
    return PlantedTokens(cohort._replace(slides=cohort.slides[:n_slides]), rest)


def plant(level: str, seed: int, n_slides: int, regions: tuple[int, int]) -> PlantedCohort:
    """Slides of a seed at a level."""
    planted = {**_PLANTED, **LEVELS[level]}
    is_centered = planted.pop(_CENTERED, False)
    cohort = planted_tokens(n_slides, regions, seed=seed, **planted)
    return cohort._replace(slides=[_centered(slide) for slide in cohort.slides]) if is_centered else cohort


def _centered(slide: PlantedSlide) -> PlantedSlide:
    """Tokens less the mean tissue token of their slide, as ``center_tokens: slide`` has them."""
    features = slide.features.astype(np.float32)
    features[slide.mask] -= features[slide.mask].mean(0)
    return slide._replace(features=features.astype(np.float16))
