"""Attention over the regions, or the patch tokens, of a patient tells classes apart."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...heads import Tensors
from .inputs import Bags, TokenBags
from .mil_training import Loss, MILTraining


class AttentionMIL(MILTraining):
    """Gated attention under the cross entropy, see :class:`MILTraining` for what it takes."""

    name: ClassVar[str] = "mil"
    tasks: ClassVar[tuple[str, ...]] = ("classification", "ordinal")

    def __call__(
        self, train: Bags | TokenBags, targets: NDArray[np.int64], test: Bags | TokenBags, n_classes: int, seed: int
    ) -> NDArray[np.float64]:
        """Probability of each class, [n_test, n_classes].

        Args:
            train: n_train patients.
            targets: class index of each, [n_train].
            test: n_test patients.
            n_classes: C.
            seed: of the weights, the order of patients, dropout and draws; the caller's random state stays as it is.
        """
        return self.outputs(train, test, n_classes, self._loss(targets), seed).softmax(1).numpy()

    def learn(self, train: Bags | TokenBags, targets: NDArray[np.int64], n_classes: int, seed: int) -> Tensors:
        """What a head keeps of a network trained on these patients; arguments as for a call."""
        return self.tensors(train, n_classes, self._loss(targets), seed)

    def _loss(self, targets: NDArray[np.int64]) -> Loss:
        labels = torch.from_numpy(np.asarray(targets, np.int64)).to(self.device)

        def loss(logits: Tensor, rows: Tensor) -> Tensor:
            return nn.functional.cross_entropy(logits, labels[rows])

        return loss
