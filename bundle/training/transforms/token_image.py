"""Stored token grids as the images that networks take."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform


class TokenImaged(MapTransform):
    """A token grid as it is stored, a token's values side by side, becomes a channel-first float32 image.

    Args:
        keys: of the token grid, (..., H, W, D) of any float type, tensor or array.
        image_key: of the image, float32 (..., D, H, W).
    """

    def __init__(self, keys: KeysCollection = "features", image_key: str = "image") -> None:
        super().__init__(keys)
        self.image_key = image_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The same dictionary with ``image``."""
        out = dict(data)
        for key in self.key_iterator(out):
            out[self.image_key] = torch.as_tensor(out[key]).float().movedim(-1, -3)
        return out
