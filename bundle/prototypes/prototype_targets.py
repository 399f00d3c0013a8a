"""What a batch of regions is pulled to."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class PrototypeTargets(NamedTuple):
    """Prototypes that a batch of B regions shall match: its own slide's and those of R neighbor slides.

    Attributes:
        vectors: L2-normalized prototypes, shape (1 + R, B, d); row 0 is the region's own (intra-slide), row r the one
            in the r-th most similar slide (inter-slide). What stands where ``valid`` is False is never used.
        valid: shape (1 + R, B), bool; False where a region has no such prototype.
    """

    vectors: Tensor
    valid: Tensor
