"""Tokens that are made when they are asked for, as if from disk, and a record of how many are held."""

import weakref

import numpy as np


class MadeTokens:
    """Regions of 1 to ``largest`` tokens; values are a function of the region, ``shift`` is added to those of each.

    Attributes:
        n_read: tokens that were read so far.
        most_held: tokens of reads that were alive at a time, at most.
    """

    def __init__(self, n_regions, dim=8, largest=64, shift=None, counts=None):
        rng = np.random.default_rng(0)
        self.identity, self.dim = f"made {n_regions}", dim
        self.counts = rng.integers(1, largest + 1, n_regions) if counts is None else np.asarray(counts)
        self._pool, self._stride = rng.normal(size=(4096, dim)), int(self.counts.max())
        self.shift = np.zeros((n_regions, dim)) if shift is None else shift
        self.n_read = self.most_held = self._held = 0

    def read(self, regions):
        tokens = [self.of_region(region) for region in regions]
        found = np.concatenate([np.zeros((0, self.dim), np.float32), *tokens])
        self.n_read += len(found)
        self._held += len(found)
        self.most_held = max(self.most_held, self._held)
        weakref.finalize(found, self._forget, len(found))
        return found

    def of_region(self, region):
        places = (region * self._stride + np.arange(self.counts[region])) % len(self._pool)
        return (self._pool[places] + self.shift[region]).astype(np.float32)

    def _forget(self, n):
        self._held -= n
