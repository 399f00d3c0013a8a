"""Patch tokens of regions, read from token files when they are asked for."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from ...storage import TokenDataset

_BLOCK = 64  # regions that are read at once: what is held beside the tokens that are kept


class TissueTokens:
    """The tokens of a data set's patches that hold tissue; patches without a token are none of them.

    Args:
        dataset: the token files.
        identity: changes with what is in them.

    Attributes:
        dim: D, length of a token.
        counts: tokens of each region, [N].
    """

    def __init__(self, dataset: TokenDataset, identity: str) -> None:
        self.identity, self.dim = identity, dataset.token_dim
        self._dataset = dataset
        self.counts = (dataset.masks & dataset.present).sum((1, 2)).numpy()

    def read(self, regions: NDArray[np.int64]) -> NDArray[np.float32]:
        """Tokens of some regions one after the other, [sum of their counts, D].

        Raises:
            BundleError: a token file has gone, was replaced, or ends early.
        """
        found = np.empty((int(self.counts[regions].sum()), self.dim), np.float32)
        start = 0
        for first in range(0, len(regions), _BLOCK):
            block = regions[first : first + _BLOCK]
            tokens = self._dataset.read(block).cpu().numpy()[self._kept(block)]
            found[start : start + len(tokens)] = tokens
            start += len(tokens)
        return found

    def _kept(self, regions: NDArray[np.int64]) -> NDArray[np.bool_]:
        chosen = torch.from_numpy(regions)
        return (self._dataset.masks[chosen] & self._dataset.present[chosen]).numpy()
