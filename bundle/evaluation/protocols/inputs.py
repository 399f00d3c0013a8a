"""What a protocol is, and what it may learn from: a vector a patient, bags of regions or tokens, sets of prototypes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from ...parallel import keyed_uniform

Rows = NDArray[np.int64]
_REGIONS, _TOKENS = range(2)  # streams of random numbers


@dataclass(frozen=True)
class Vectors:
    """One vector a patient: ``values`` float32 [n, d]."""

    kind: ClassVar[str] = "vectors"
    values: NDArray[np.float32]

    def __len__(self) -> int:
        """Number of patients."""
        return len(self.values)

    def take(self, rows: Rows) -> Vectors:
        """The features of these patients, in this order."""
        return Vectors(self.values[rows])

    def arrays(self) -> list[NDArray[np.generic]]:
        """All that is in it, for a fingerprint."""
        return [self.values]


@dataclass(frozen=True)
class Bags:
    """The regions of each patient: ``values`` float32 [M, d], grouped by patient, ``sizes`` int64 [n], all above 0."""

    kind: ClassVar[str] = "bags"
    values: NDArray[np.float32]
    sizes: Rows

    def __len__(self) -> int:
        """Number of patients."""
        return len(self.sizes)

    @property
    def owner(self) -> Rows:
        """Patient of each region, [M], ascending."""
        return np.repeat(np.arange(len(self.sizes)), self.sizes)

    def take(self, rows: Rows) -> Bags:
        """The features of these patients, in this order."""
        sizes = self.sizes[rows]
        starts = (np.cumsum(self.sizes) - self.sizes)[rows]
        within = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        return Bags(self.values[np.repeat(starts, sizes) + within], sizes)

    def arrays(self) -> list[NDArray[np.generic]]:
        """All that is in it, for a fingerprint."""
        return [self.values, self.sizes]


@dataclass(frozen=True)
class PrototypeSets:
    """Up to K prototypes a patient: L2-normalized ``values`` float32 [n, K, d], ``valid`` bool [n, K]."""

    kind: ClassVar[str] = "prototypes"
    values: NDArray[np.float32]
    valid: NDArray[np.bool_]

    def __len__(self) -> int:
        """Number of patients."""
        return len(self.valid)

    def take(self, rows: Rows) -> PrototypeSets:
        """The features of these patients, in this order."""
        return PrototypeSets(self.values[rows], self.valid[rows])

    def arrays(self) -> list[NDArray[np.generic]]:
        """All that is in it, for a fingerprint."""
        return [self.values, self.valid]


class TokenSource(Protocol):
    """Tokens of regions, which are read when they are asked for.

    Attributes:
        identity: changes with the tokens.
        dim: D, length of a token.
        counts: tokens of each region, [N].
    """

    identity: str
    dim: int
    counts: Rows

    def read(self, regions: Rows) -> NDArray[np.float32]:
        """Tokens of some regions one after the other, [sum of their counts, D]."""


@dataclass(frozen=True)
class TokenBags:
    """The patch tokens of each patient, left where they are: ``regions`` of each, places in the ``source``."""

    kind: ClassVar[str] = "token_bags"
    source: TokenSource
    regions: list[Rows]

    def __len__(self) -> int:
        """Number of patients."""
        return len(self.regions)

    @property
    def dim(self) -> int:
        """Length of a token."""
        return self.source.dim

    def take(self, rows: Rows) -> TokenBags:
        """The features of these patients, in this order; nothing is read."""
        return TokenBags(self.source, [self.regions[row] for row in rows])

    def arrays(self) -> list[NDArray[np.generic]]:
        """What says which tokens these are, for a fingerprint; nothing is read."""
        sizes = np.array([len(regions) for regions in self.regions], np.int64)
        return [np.frombuffer(self.source.identity.encode(), np.uint8), np.concatenate(self.regions), sizes]

    def chunks(self, row: int, n_most: int) -> Iterator[NDArray[np.float32]]:
        """All tokens of a patient, whole regions at a time: fewer than ``n_most`` and those of one region."""
        regions = self._filled(row)
        group = (np.cumsum(self.source.counts[regions]) - 1) // n_most
        for part in np.split(regions, np.flatnonzero(np.diff(group)) + 1):
            if len(part):
                yield self.source.read(part)

    def sample(self, row: int, n_most: int, seed: int, draw: int) -> NDArray[np.float32]:
        """Tokens of a patient, all where there are at most ``n_most``, else ``n_most`` of random regions.

        Regions are read whole from disk, so that tokens drawn one by one would cost as many reads as there are
        regions; of the last region that is drawn random tokens are left out. The draw is a function of the key
        ``(seed, draw, region)``.
        """
        regions = self._filled(row)
        counts = self.source.counts[regions]
        if counts.sum() <= n_most:
            return self.source.read(regions)
        order = keyed_uniform(seed, draw, torch.from_numpy(regions), _REGIONS, 1)[:, 0].argsort(stable=True).numpy()
        passed = np.cumsum(counts[order])
        last = int(np.searchsorted(passed, n_most))
        n_left = n_most - int(passed[last] - counts[order[last]])
        chosen = self.source.read(regions[order[: last + 1]])
        of_last = torch.from_numpy(regions[order[last : last + 1]])
        places = keyed_uniform(seed, draw, of_last, _TOKENS, int(counts[order[last]]))[0].argsort(stable=True).numpy()
        first = n_most - n_left
        return chosen[np.concatenate([np.arange(first), first + np.sort(places[:n_left])])]

    def _filled(self, row: int) -> Rows:
        """Regions of a patient that have tokens."""
        return self.regions[row][self.source.counts[self.regions[row]] > 0]


Inputs = Vectors | Bags | TokenBags | PrototypeSets


class SlideProtocol(Protocol):
    """From features of patients to scores. One whose head can be kept has a method ``learn`` as well.

    Attributes:
        name: in results.
        tasks: some of "classification", "ordinal" and "survival".
        takes: kinds of input, such as ``Vectors.kind``.
        is_random: may be absent; True: scores depend on chance beyond the patients that are learned from.
    """

    name: ClassVar[str]
    tasks: ClassVar[tuple[str, ...]]
    takes: ClassVar[tuple[str, ...]]

    def __call__(self, train: Any, targets: NDArray[Any], test: Any, n_classes: int, seed: int) -> NDArray[np.float64]:
        """Probabilities [n_test, C] that sum to 1, or risks [n_test, 1] (higher: earlier event).

        Args:
            train: n_train patients.
            targets: class index of each, [n_train], at least two different ones; or time and event, [n_train, 2].
            test: n_test patients, of the same kind.
            n_classes: C; any for risks.
            seed: of all that is random; the caller's random state stays as it is.
        """
