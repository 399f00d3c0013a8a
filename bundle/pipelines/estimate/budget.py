"""Arithmetic: from slides and rates to regions, bytes and hours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from .preflight import Look

_RESAMPLES = 2000
_TOKEN_BYTES = 2  # a stored value, float16
_MASK_BYTES = 1  # a patch
_HEADER_BYTES = 8192  # a file


class Count(NamedTuple):
    """A number of the whole cohort.

    Attributes:
        value: the estimate.
        low, high: where 95 % of such estimates have the truth: bootstrap over the sampled slides, and as much spread
            of the others about it; both ``value`` where every slide was looked at.
    """

    value: float
    low: float
    high: float


class Rates(NamedTuple):
    """What this machine does in a second.

    Attributes:
        read, encode: patches.
        train: regions through a training step.
        recluster: regions through the teacher, for prototypes.
        embed: regions through inference.
    """

    read: float
    encode: float
    train: float
    recluster: float
    embed: float


class Plan(NamedTuple):
    """What is going to be done.

    Attributes:
        token_dim: values of a token.
        region_patches: patches on a region's side.
        embedding_values: values of a region's embedding and projection together.
        n_heads: of the attention that inference stores.
        checkpoint_bytes: of one checkpoint.
        n_checkpoints: that are on disk when the run is complete.
        max_epochs, warmup_epochs: of training; prototypes are made anew in every epoch after the warm-up.
        overlaps: patches are read while others are encoded on another device; else both take the same processor.
    """

    token_dim: int
    region_patches: int
    embedding_values: int
    n_heads: int
    checkpoint_bytes: float
    n_checkpoints: int
    max_epochs: int
    warmup_epochs: int
    overlaps: bool


class Budget(NamedTuple):
    """Bytes and hours.

    Attributes:
        tokens, embeddings, checkpoints: bytes.
        tokenizing, epoch, training, embedding: hours; ``epoch`` is one with prototypes.
        stage_one: hours of training a patch encoder; 0 where there is one.
    """

    tokens: float
    embeddings: float
    checkpoints: float
    tokenizing: float
    epoch: float
    training: float
    embedding: float
    stage_one: float = 0.0


def count_regions(looks: Sequence[Look], seed: int = 0) -> tuple[Count, Count]:
    """Regions and tissue patches of all good slides.

    Slides whose tissue was not looked for are taken to have as many a mm2 of slide as those where it was. Sampled
    slides without tissue count as such: as many of the others are expected to have none.

    Args:
        looks: all slides; where some were not looked for, at least two were.
        seed: of the bootstrap.
    """
    opened = [look for look in looks if look.area_mm2 > 0]
    is_sampled = np.array([look.regions is not None or bool(look.problem) for look in opened], bool)
    areas = np.array([look.area_mm2 for look in opened])
    unseen = areas[~is_sampled].sum()
    counts = np.array([[look.regions or 0, look.patches or 0] for look in opened], float).reshape(-1, 2)[is_sampled]
    known = counts.sum(0)
    if unseen == 0 or not is_sampled.any():
        return Count(*[known[0]] * 3), Count(*[known[1]] * 3)
    sampled, rng = areas[is_sampled], np.random.default_rng(seed)
    draws = rng.integers(len(sampled), size=(_RESAMPLES, len(sampled)))
    drawn, weights = counts[draws] / sampled[draws][..., None], sampled[draws] / sampled[draws].sum(1, keepdims=True)
    densities = (drawn * weights[..., None]).sum(1)
    spread = np.sqrt(((drawn - densities[:, None]) ** 2 * weights[..., None]).sum(1))
    own_noise = spread * np.sqrt((areas[~is_sampled] ** 2).sum()) * rng.standard_normal((_RESAMPLES, 1))
    values = known + unseen * known / sampled.sum()
    off = (known + unseen * densities + own_noise - values) * _small_sample(len(sampled))
    totals = np.maximum(known, values + off)
    low, high = np.quantile(totals, (0.025, 0.975), axis=0)
    return Count(values[0], low[0], high[0]), Count(values[1], low[1], high[1])


def _small_sample(n: int) -> float:
    """By how much a bootstrap over n is too narrow, about; measured on planted cohorts, see the tests."""
    return float(stats.t.ppf(0.975, n - 1) / stats.norm.ppf(0.975) * np.sqrt(n / (n - 1)))


def budget(regions: float, patches: float, n_slides: int, rates: Rates, plan: Plan) -> Budget:
    """Bytes and hours of the whole way.

    Args:
        regions, patches: that are encoded.
        n_slides: files.
        rates: of this machine.
        plan: what is going to be done.
    """
    cells = plan.region_patches**2
    read, encode = 1 / rates.read, 1 / rates.encode
    step, recluster = regions / rates.train, regions / rates.recluster
    n_reclusterings = max(0, plan.max_epochs - plan.warmup_epochs)
    seconds = {
        "tokenizing": patches * (max(read, encode) if plan.overlaps else read + encode),
        "epoch": step + recluster,
        "training": plan.max_epochs * step + n_reclusterings * recluster,
        "embedding": regions / rates.embed,
    }
    a_region = 4 * plan.embedding_values + cells * (2 * plan.n_heads + _MASK_BYTES)
    return Budget(
        tokens=regions * cells * (plan.token_dim * _TOKEN_BYTES + _MASK_BYTES) + n_slides * _HEADER_BYTES,
        embeddings=regions * a_region + n_slides * _HEADER_BYTES,
        checkpoints=plan.checkpoint_bytes * plan.n_checkpoints,
        **{name: value / 3600 for name, value in seconds.items()},
    )
