"""What a batch of regions is pulled to."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class PrototypeChoices(NamedTuple):
    """All prototypes of the slides that lend one to a batch of B regions, and which of them that one is.

    Attributes:
        vectors: L2-normalized, shape (1 + R, B, K, d); row 0 is the region's own slide, row r the r-th most similar.
        exists: which of them there are, shape (1 + R, B, K), bool.
        number: the one that the region is assigned to, shape (1 + R, B), int64 in [0, K); any where it has none.
    """

    vectors: Tensor
    exists: Tensor
    number: Tensor


class PrototypeTargets(NamedTuple):
    """Prototypes that a batch of B regions shall match: its own slide's and those of R neighbor slides.

    Attributes:
        vectors: L2-normalized prototypes, shape (1 + R, B, d); row 0 is the region's own (intra-slide), row r the one
            in the r-th most similar slide (inter-slide). What stands where ``valid`` is False is never used.
        valid: shape (1 + R, B), bool; False where a region has no such prototype.
        choices: what each of them was chosen from, where the bank was asked for it.
    """

    vectors: Tensor
    valid: Tensor
    choices: PrototypeChoices | None = None
