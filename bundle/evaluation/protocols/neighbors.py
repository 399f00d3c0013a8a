"""The patients that are most similar vote."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from ...core import as_whole
from ...prototypes import matched_similarity
from ..metrics.knn import knn_predict, knn_vote
from .inputs import PrototypeSets, Vectors

_BLOCK_ELEMENTS = 1 << 22


class NearestNeighbors:
    """The ``k`` most similar training patients vote for their class, each with its similarity as weight.

    Vectors are compared by their cosine, sets of prototypes by the mean cosine under their best matching [1]. It has
    no parameter to fit, so what it finds is the encoder's.

    Args:
        k: patients that vote; fewer where there are fewer.

    References:
        [1] Yu, Lin, Xu, "SLPD", MICCAI 2023: similarity of slides.
    """

    name: ClassVar[str] = "knn"
    tasks: ClassVar[tuple[str, ...]] = ("classification", "ordinal")
    takes: ClassVar[tuple[str, ...]] = (Vectors.kind, PrototypeSets.kind)

    def __init__(self, k: int = 5) -> None:
        self.k = as_whole(k, "k_neighbors", 1)

    def __call__(
        self,
        train: Vectors | PrototypeSets,
        targets: NDArray[np.int64],
        test: Vectors | PrototypeSets,
        n_classes: int,
        seed: int,
    ) -> NDArray[np.float64]:
        """Share of the votes of each class, see :class:`SlideProtocol`; ``seed`` is not needed."""
        labels = torch.from_numpy(np.asarray(targets, np.int64))
        if isinstance(train, PrototypeSets) and isinstance(test, PrototypeSets):
            votes = knn_vote(_set_similarity(test, train), labels, self.k, n_classes)
        elif isinstance(train, Vectors) and isinstance(test, Vectors):
            vectors = (torch.from_numpy(inputs.values) for inputs in (train, test))
            votes = knn_predict(next(vectors), labels, next(vectors), self.k, n_classes=n_classes)
        else:
            raise TypeError(f"kNN compares two of a kind: got {type(train).__name__} and {type(test).__name__}.")
        scores = votes.double().numpy()
        return scores / scores.sum(1, keepdims=True)


def _set_similarity(a: PrototypeSets, b: PrototypeSets) -> torch.Tensor:
    """Similarity of every set of a to every set of b, [n_a, n_b]; -1 where a set is empty."""
    left, left_valid = torch.from_numpy(a.values), torch.from_numpy(a.valid)
    right, right_valid = torch.from_numpy(b.values), torch.from_numpy(b.valid)
    pairs = torch.cartesian_prod(torch.arange(len(a)), torch.arange(len(b)))
    parts = []
    for chunk in pairs.split(max(1, _BLOCK_ELEMENTS // max(1, left[0].numel()))):
        i, j = chunk.T
        parts.append(matched_similarity(left[i], left_valid[i], right[j], right_valid[j])[0])
    return torch.cat(parts).clamp(min=-1).view(len(a), len(b))
