"""Attention networks are trained on bags, and asked about others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...core import as_number, as_whole
from ...heads import AttentionScorer, GatedAttention, Tensors
from .inputs import Bags, TokenBags

Floats = NDArray[np.float32]
Loss = Callable[[Tensor, Tensor], Tensor]  # from outputs [b, C] and the places of b patients among the training ones
_SMALL_SPREAD = 1e-6
_CHUNK = 8192  # tokens of a tested patient that are held at a time
_FOR_SCALE = -1  # the draw of tokens that means and deviations are taken from; epochs count from 0


class MILTraining:
    """Train :class:`GatedAttention` for a fixed number of epochs, with AdamW and a cosine.

    Stopping by epochs needs no patients set aside, which small cohorts do not have. Regions are standardized with the
    mean and the deviation of the training regions.

    Bags of patch tokens stay on disk. A step reads the tokens of its patients, of each at most ``max_patches``: other
    ones in every epoch (see :meth:`TokenBags.sample`), and so do mean and deviation, once. Tested patients are read
    whole, in chunks. What is held at a time grows with ``batch_size`` and ``max_patches``, not with the cohort.

    Args:
        n_epochs: passes over the training patients, at least 1.
        lr: of AdamW at the start.
        weight_decay: of AdamW.
        batch_size: patients in a step.
        max_patches: tokens of a patient in a step, at least 1.
        device: where to train.
    """

    tasks: ClassVar[tuple[str, ...]]
    takes: ClassVar[tuple[str, ...]] = (Bags.kind, TokenBags.kind)
    is_random: ClassVar[bool] = True

    def __init__(
        self,
        n_epochs: int = 30,
        lr: float = 2e-3,
        weight_decay: float = 1e-2,
        batch_size: int = 16,
        max_patches: int = 4096,
        device: torch.device | str = "cpu",
    ) -> None:
        self.n_epochs = as_whole(n_epochs, "n_epochs", 1)
        self.batch_size = as_whole(batch_size, "batch_size", 1)
        self.lr = as_number(lr, "lr", 0)
        self.weight_decay = as_number(weight_decay, "weight_decay", 0)
        self.max_patches = as_whole(max_patches, "mil_max_patches", 1)
        self.device = torch.device(device)

    def __call__(
        self, train: Bags | TokenBags, targets: NDArray[Any], test: Bags | TokenBags, n_classes: int, seed: int
    ) -> NDArray[np.float64]:
        """Scores [n_test, C], or risks [n_test, 1], see :class:`SlideProtocol`."""
        scale, network = self._fitted(train, targets, n_classes, seed)
        with torch.inference_mode():
            if isinstance(test, TokenBags):
                parts = [self._of_tokens(network, scale, test, row)[None] for row in range(len(test))]
            else:
                places = np.array_split(np.arange(len(test)), 1 + len(test) // 256)
                bags = Bags(scale(test.values), test.sizes)
                parts = [network(*self._on_device(bags.take(rows)))[0] for rows in places]
            return self._scores(torch.cat(parts).double().cpu()).numpy()

    def learn(self, train: Bags | TokenBags, targets: NDArray[Any], n_classes: int, seed: int) -> Tensors:
        """What a head keeps of a network trained on these patients; arguments as for a call."""
        scale, network = self._fitted(train, targets, n_classes, seed)
        return AttentionScorer.tensors_of(scale.mean, scale.spread, network)

    def _loss(self, targets: NDArray[Any]) -> Loss:
        raise NotImplementedError

    def _scores(self, outputs: Tensor) -> Tensor:
        """From outputs [n, C] of the network to what a call gives."""
        return outputs

    def _fitted(
        self, train: Bags | TokenBags, targets: NDArray[Any], n_classes: int, seed: int
    ) -> tuple[_Scale, GatedAttention]:
        loss, scale = self._loss(targets), self._scale(train, seed)
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            network = self._fit(scale, train, 1 if "survival" in self.tasks else n_classes, loss, seed)
        return scale, network.eval()

    def _fit(self, scale: _Scale, train: Bags | TokenBags, n_outputs: int, loss: Loss, seed: int) -> GatedAttention:
        network = GatedAttention(len(scale.mean), n_outputs).to(self.device)
        bags = train if isinstance(train, TokenBags) else Bags(scale(train.values), train.sizes)
        n_steps = self.n_epochs * -(-len(bags) // self.batch_size)
        optimizer = torch.optim.AdamW(network.parameters(), lr=self.lr, weight_decay=self.weight_decay)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps)
        for epoch in range(self.n_epochs):
            for rows in torch.randperm(len(bags)).split(self.batch_size):
                if isinstance(bags, TokenBags):
                    drawn = self._drawn(bags, rows.numpy(), seed, epoch)
                    chosen = Bags(scale(drawn.values), drawn.sizes)
                else:
                    chosen = bags.take(rows.numpy())
                logits, _ = network(*self._on_device(chosen))
                value = loss(logits, rows.to(self.device))
                optimizer.zero_grad(set_to_none=True)
                value.backward()
                optimizer.step()
                schedule.step()
        return network

    def _scale(self, train: Bags | TokenBags, seed: int) -> _Scale:
        if isinstance(train, Bags):
            return _Scale.of(train.values.mean(0), train.values.std(0))
        n, mean, squares = 0, np.zeros(train.dim), np.zeros(train.dim)
        for row in range(len(train)):
            part = train.sample(row, self.max_patches, seed, _FOR_SCALE).astype(np.float64)
            if len(part):  # two groups are put together as Chan, Golub and LeVeque have it: no large sums cancel
                n_both, shift = n + len(part), part.mean(0) - mean
                squares += part.var(0) * len(part) + shift**2 * (n * len(part) / n_both)
                n, mean = n_both, mean + shift * (len(part) / n_both)
        return _Scale.of(mean.astype(np.float32), np.sqrt(squares / max(n, 1)).astype(np.float32))

    def _drawn(self, bags: TokenBags, rows: NDArray[np.int64], seed: int, epoch: int) -> Bags:
        parts = [bags.sample(int(row), self.max_patches, seed, epoch) for row in rows]
        return Bags(np.concatenate(parts), np.array([len(part) for part in parts], np.int64))

    def _of_tokens(self, network: GatedAttention, scale: _Scale, bags: TokenBags, row: int) -> Tensor:
        chunks = bags.chunks(row, _CHUNK)
        return network.of_chunks(torch.from_numpy(scale(chunk)).to(self.device) for chunk in chunks)

    def _on_device(self, bags: Bags) -> tuple[Tensor, Tensor, int]:
        values, owner = torch.from_numpy(bags.values), torch.from_numpy(bags.owner)
        return values.to(self.device), owner.to(self.device), len(bags)


class _Scale(NamedTuple):
    """Standardizes rows [m, d]; values that are the same everywhere become 0."""

    mean: Floats
    spread: Floats

    @classmethod
    def of(cls, mean: Floats, spread: Floats) -> _Scale:
        flat = spread <= _SMALL_SPREAD * spread.max(initial=0)
        return cls(mean, np.where(flat, np.float32(np.inf), spread))

    def __call__(self, values: Floats) -> Floats:
        return (values - self.mean) / self.spread
