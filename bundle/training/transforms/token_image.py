"""Stored token grids as the images that networks take."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Transform
from torch import Tensor


class TokenImage(Transform):
    """A token grid as it is stored, a token's values side by side, becomes a channel-first float32 image."""

    def __call__(self, grid: Any) -> Tensor:
        """(..., H, W, D) of any float type, tensor or array -> float32 (..., D, H, W)."""
        tokens = torch.as_tensor(grid).float()
        return tokens.movedim(-1, -3)


class TokenImaged(MapTransform):
    """:class:`TokenImage` for dictionaries; the image goes under a key of its own.

    Args:
        keys: of the token grid.
        image_key: of the image.
        allow_missing_keys: do nothing where the key is missing.
    """

    def __init__(
        self, keys: KeysCollection = "features", image_key: str = "image", allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.image_key = image_key
        self.transform = TokenImage()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The same dictionary with ``image``."""
        out = dict(data)
        for key in self.key_iterator(out):
            out[self.image_key] = self.transform(out[key])
        return out
