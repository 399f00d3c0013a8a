"""What is wanted of every slide's map."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .layers import LAYERS

Thumbnail = tuple[NDArray[np.uint8], float]


def no_thumbnail(slide_id: str) -> None:
    """No slide is at hand."""
    return


@dataclass(frozen=True)
class MapRequest:
    """What is wanted, and what of the slide itself is at hand.

    Attributes:
        layers: some of ``LAYERS``.
        prototype: the prototype that similarity is to, from 1; None: to each.
        thumbnail: slide id -> RGB uint8 [h, w, 3] and its um/px, or None where the slide is not at hand.
    """

    layers: Sequence[str] = LAYERS
    prototype: int | None = None
    thumbnail: Callable[[str], Thumbnail | None] = no_thumbnail
