"""Attention over the regions, or the patch tokens, of a patient tells classes apart."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .mil_training import Loss, MILTraining


class AttentionMIL(MILTraining):
    """Gated attention under the cross entropy, see :class:`MILTraining` for what it takes."""

    name: ClassVar[str] = "mil"
    tasks: ClassVar[tuple[str, ...]] = ("classification", "ordinal")

    def _scores(self, outputs: Tensor) -> Tensor:
        return outputs.softmax(1)

    def _loss(self, targets: NDArray[Any]) -> Loss:
        labels = torch.from_numpy(np.asarray(targets, np.int64)).to(self.device)

        def loss(logits: Tensor, rows: Tensor) -> Tensor:
            return nn.functional.cross_entropy(logits, labels[rows])

        return loss
