"""What transforms on batches share: a seed instead of a state, and dictionary twins."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable

from ...core import BundleError

_MAX_SEED = 2**32


class KeyedRandomizable(Randomizable):
    """Randomness without a state: MONAI's ``set_random_state`` sets the seed, the rest of the key comes with the call.

    Args:
        seed: first part of every key.
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.seed = int(seed)

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> KeyedRandomizable:
        """``seed`` becomes the seed; a ``state`` is asked for one; neither: one from the operating system."""
        super().set_random_state(seed, state)
        self.seed = int(seed) if seed is not None else int(self.R.randint(_MAX_SEED, dtype=np.uint32))
        return self


class RandViewsd(Randomizable, MapTransform):
    """Dictionary twin of a view maker: reads one key, ``region_id`` [B] and ``epoch``; adds ``views``.

    Args:
        keys: the one key that holds the batch.
        maker: the array transform: (data, ids [B], epoch) -> groups of views [v, B, C, s, s].
    """

    def __init__(self, keys: KeysCollection, maker: KeyedRandomizable) -> None:
        MapTransform.__init__(self, keys)
        if len(self.keys) != 1:
            raise ValueError(f"{type(self).__name__} makes views of one key: got keys={self.keys}. Use one for each.")
        self.maker = maker

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> RandViewsd:
        """Handed on to the array transform."""
        self.maker.set_random_state(seed, state)
        return self

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """A batch with the keys above -> the same with ``views``, a list of [v, B, C, H, W]."""
        batch = self.checked(data)
        for key in self.key_iterator(batch):
            batch["views"] = self.maker(batch[key], batch["region_id"], int(batch["epoch"]))
        return batch

    def checked(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """A copy of the batch, which holds what keys random numbers.

        Raises:
            BundleError: it does not.
        """
        batch = dict(data)
        for name in ("region_id", "epoch"):
            if name not in batch:
                raise BundleError(
                    f"{type(self).__name__} needs '{name}' in the batch to key its random numbers; "
                    f"found {', '.join(map(str, batch))}. Let the dataset or the trainer add it."
                )
        return batch
