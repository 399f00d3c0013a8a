"""Attention over the regions of a patient."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...core import as_number, as_whole
from .inputs import Bags

_SMALL_SPREAD = 1e-6


class GatedAttention(nn.Module):
    """Bags of any size in one flat tensor: attention within each bag, then a linear classifier [1].

    MONAI's ``MILModel`` takes images in bags of one size, because it has no mask; regions of a slide are embedded
    already, and slides have between one and hundreds of them.

    Args:
        in_dim: width of a region's embedding.
        n_classes: C.
        hidden: width of the bag's embedding.
        dropout: of regions' embeddings, in [0, 1).

    References:
        [1] Ilse, Tomczak, Welling, "Attention-based deep multiple instance learning", ICML 2018, eq. 9.
    """

    def __init__(self, in_dim: int, n_classes: int, hidden: int = 64, dropout: float = 0.25) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(in_dim, hidden), nn.ReLU(), nn.Dropout(dropout))
        self.content, self.gate = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)
        self.score = nn.Linear(hidden, 1)
        self.classify = nn.Linear(hidden, n_classes)

    def forward(self, regions: Tensor, owner: Tensor, n_bags: int) -> tuple[Tensor, Tensor]:
        """Regions (M, in_dim) of bags ``owner`` (M,) -> logits (n_bags, C) and attention (M,), 1 in sum over a bag."""
        hidden = self.embed(regions)
        score = self.score(self.content(hidden).tanh() * self.gate(hidden).sigmoid())[:, 0]
        largest = score.new_full((n_bags,), -torch.inf).scatter_reduce(0, owner, score.detach(), "amax")
        weight = (score - largest[owner]).exp()
        attention = weight / weight.new_zeros(n_bags).index_add(0, owner, weight)[owner]
        bag = hidden.new_zeros(n_bags, hidden.shape[1]).index_add(0, owner, hidden * attention[:, None])
        return self.classify(bag), attention


class AttentionMIL:
    """Train :class:`GatedAttention` on whole bags for a fixed number of epochs, with AdamW and a cosine.

    Stopping by epochs needs no patients set aside, which small cohorts do not have. Regions are standardized with the
    mean and the deviation of the training regions.

    Args:
        n_epochs: passes over the training patients, at least 1.
        lr: of AdamW at the start.
        weight_decay: of AdamW.
        batch_size: patients in a step.
        device: where to train.
    """

    name: ClassVar[str] = "mil"
    tasks: ClassVar[tuple[str, ...]] = ("classification", "ordinal")
    takes: ClassVar[tuple[str, ...]] = (Bags.kind,)

    def __init__(
        self,
        n_epochs: int = 30,
        lr: float = 2e-3,
        weight_decay: float = 1e-2,
        batch_size: int = 16,
        device: torch.device | str = "cpu",
    ) -> None:
        self.n_epochs = as_whole(n_epochs, "n_epochs", 1)
        self.batch_size = as_whole(batch_size, "batch_size", 1)
        self.lr = as_number(lr, "lr", 0)
        self.weight_decay = as_number(weight_decay, "weight_decay", 0)
        self.device = torch.device(device)

    def __call__(
        self, train: Bags, targets: NDArray[np.int64], test: Bags, n_classes: int, seed: int
    ) -> NDArray[np.float64]:
        """Probability of each class, [n_test, n_classes].

        Args:
            train: n_train patients.
            targets: class index of each, [n_train].
            test: n_test patients.
            n_classes: C.
            seed: of the weights, the order of patients and dropout; the caller's random state stays as it is.
        """
        mean, spread = train.values.mean(0), train.values.std(0)
        spread = np.where(spread > _SMALL_SPREAD * spread.max(initial=0), spread, np.float32(np.inf))
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            network = self._fit(Bags((train.values - mean) / spread, train.sizes), targets, n_classes)
        network.eval()
        everybody = np.arange(len(test))
        with torch.inference_mode():
            bags = Bags((test.values - mean) / spread, test.sizes)
            parts = [network(*self._batch(bags, rows))[0] for rows in np.array_split(everybody, 1 + len(test) // 256)]
        return torch.cat(parts).double().softmax(1).cpu().numpy()

    def _fit(self, bags: Bags, targets: NDArray[np.int64], n_classes: int) -> GatedAttention:
        network = GatedAttention(bags.values.shape[1], n_classes).to(self.device)
        labels = torch.from_numpy(np.asarray(targets, np.int64)).to(self.device)
        n_steps = self.n_epochs * -(-len(bags) // self.batch_size)
        optimizer = torch.optim.AdamW(network.parameters(), lr=self.lr, weight_decay=self.weight_decay)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps)
        for _ in range(self.n_epochs):
            for rows in torch.randperm(len(bags)).split(self.batch_size):
                logits, _ = network(*self._batch(bags, rows.numpy()))
                loss = nn.functional.cross_entropy(logits, labels[rows.to(self.device)])
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                schedule.step()
        return network

    def _batch(self, bags: Bags, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor, int]:
        chosen = bags.take(rows)
        values, owner = torch.from_numpy(chosen.values), torch.from_numpy(chosen.owner)
        return values.to(self.device), owner.to(self.device), len(rows)
