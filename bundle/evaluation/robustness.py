"""Does an encoder go by class, or by site and slide? Metrics of the whole cohort, beside the methods."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from .features.pooled_features import PooledFeatures
from .features.split_features import Round, vectors_of
from .findings import Evaluation, Robustness
from .metrics.identity_probe import IdentityProbe
from .metrics.intervals import share_intervals
from .metrics.robustness_index import neighbor_kinds, random_index

_CURVE = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50)
_STEP = 4096  # regions that are looked at together


class _Regions(NamedTuple):
    """Regions of all patients, one after the other: place in the cohort, patient and slide (from 0) of each."""

    places: NDArray[np.int64]
    patient: NDArray[np.int64]
    slide: NDArray[np.int64]


def robustness(
    rounds: Sequence[Round],
    members: Sequence[Sequence[int]],
    found: Evaluation,
    k: int,
    n_bootstrap: int = 2000,
    seed: int = 0,
) -> list[Robustness]:
    """Of every encoder the robustness index over ``k`` neighbors, and how well a region tells its slide and its site.

    The index needs classes and sites, the site's probe sites; vectors are one a patient. What cannot be told is left
    out. Where features are harmonized, each patient is asked for in the rounds in which it is tested.

    Args:
        rounds: at least one.
        members: places of the slides of each of n patients.
        found: has task, targets, classes and sites of the patients.
        k: neighbors of the index in tables.
        n_bootstrap: resamples of the patients.
        seed: of the resamples.
    """
    features = rounds[0].features
    regions = _regions(features, members)
    slide, patient = torch.from_numpy(regions.slide), torch.from_numpy(regions.patient)
    # sites by patient: one that is learned from is not asked for
    probes = {
        "slide_identity": IdentityProbe("embedding", slide),
        "site_identity": IdentityProbe("embedding", patient, found.sites),
    }
    ways: list[Robustness] = []
    for name in features.names:
        ways += _index(rounds, name, members, found, k, n_bootstrap, seed)
        if not features.has_regions(name):
            continue
        for metric, (hits, trials) in _answers(rounds, name, regions, probes, len(members)).items():
            if trials.any():
                interval = share_intervals(hits[:, None], trials[:, None], n_bootstrap, seed)[0]
                ways.append(Robustness(name, "regions", metric, 0, interval, _chance(probes[metric]), {}))
    return ways


def _index(
    rounds: Iterable[Round],
    name: str,
    members: Sequence[Sequence[int]],
    found: Evaluation,
    k: int,
    n_bootstrap: int,
    seed: int,
) -> list[Robustness]:
    """The index over several k; nothing without classes, two sites, or a vector a patient."""
    n_known = sum(site is not None for site in found.sites)
    if found.task == "survival" or len({site for site in found.sites if site is not None}) < 2:
        return []
    used = min(k, n_known - 1)
    ks = sorted({used} | {at for at in _CURVE if at < n_known})
    counts, kind = np.zeros((2, len(found.units), ks[-1]), np.int64), ""
    for features, asked in rounds:
        vectors = vectors_of(features, name, members)
        if vectors is None:
            return []
        kind, values = vectors
        counts[:, asked] += neighbor_kinds(values, found.targets, found.sites, asked, ks[-1])
    hits, trials = counts[0], counts.sum(0)
    columns = np.array(ks) - 1
    curve = dict(zip(ks, share_intervals(hits[:, columns], trials[:, columns], n_bootstrap, seed), strict=True))
    chance = random_index(found.targets, found.sites)
    return [Robustness(name, kind, "robustness_index", used, curve[used], chance, curve)]


def _regions(features: PooledFeatures, members: Sequence[Sequence[int]]) -> _Regions:
    slides = [[place] for group in members for place in group]
    places, sizes = features.regions_of(slides)
    owner = np.repeat(np.arange(len(members)), [len(group) for group in members])
    return _Regions(places, np.repeat(owner, sizes), np.repeat(np.arange(len(slides)), sizes))


def _answers(
    rounds: Iterable[Round], name: str, regions: _Regions, probes: Mapping[str, IdentityProbe], n_patients: int
) -> dict[str, NDArray[np.int64]]:
    """By probe how many regions of each patient are told rightly, and how many were asked for, [2, n]."""
    counts = {metric: np.zeros((2, n_patients), np.int64) for metric in probes}
    for features, asked in rounds:
        vectors = features.regions(name).embedding
        for metric, probe in probes.items():
            answers = _asked(probe, vectors, regions.places)
            if answers is not None:
                owner, right = regions.patient[answers[0].numpy()], answers[1].numpy()
                kept = np.isin(owner, asked)
                counts[metric][0] += np.bincount(owner[kept & right], minlength=n_patients)
                counts[metric][1] += np.bincount(owner[kept], minlength=n_patients)
    return counts


def _asked(
    probe: IdentityProbe, vectors: NDArray[np.float32], places: NDArray[np.int64]
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """A probe's answers, learned from and asked of the vectors at ``places``; see :meth:`IdentityProbe.answers`."""
    probe.reset()
    used = np.flatnonzero(probe.roles.numpy() > 0)
    for start in range(0, len(used), _STEP):
        part = used[start : start + _STEP]
        probe.update((torch.from_numpy(vectors[places[part]]), torch.from_numpy(part)))
    return probe.answers()


def _chance(probe: IdentityProbe) -> float:
    """Share of the most frequent answer among the regions that are asked for."""
    counts = torch.bincount(probe.classes[probe.roles == 2].clamp(min=0))
    return float(counts.max() / counts.sum())
