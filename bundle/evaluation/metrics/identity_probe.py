"""Does an embedding say whose slide, or which site, a region is from? The shortcut that self-supervision takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine
from ignite.metrics import Metric
from torch import Tensor

from ...core import as_whole

_TRAIN, _TEST = 1, 2
_ALPHA = 1.0  # ridge penalty on standardized values


class IdentityProbe(Metric):
    """Accuracy of a linear classifier (ridge, one against the rest) of single regions, in [0, 1].

    Without ``groups`` it tells slides apart, from every second region of each, and is tested on the others: guessing
    gives one over the number of slides. With groups (sites) it is trained on every second slide of each group and
    tested on the regions of the others. A class probe beside it (the kNN) tells whether the encoder learns more than
    that. Where nothing can be told apart (one slide, no sites) nothing is written.

    Args:
        key: entry of the engine's output that is probed, [B, d]; ``region_id`` [B] says which region a row is.
        slide_index: slide of each region of the data set, ascending, [N].
        groups: group of each slide, None where it has none; None: each slide is its own.
        max_slides: as many slides are looked at, evenly spread, so that a large cohort costs no more than a small one.
        device: where sums are kept.
    """

    def __init__(
        self,
        key: str,
        slide_index: Tensor,
        groups: Sequence[str | None] | None = None,
        max_slides: int = 256,
        device: torch.device | str = "cpu",
    ) -> None:
        index = slide_index.cpu()
        n_slides = int(index[-1]) + 1 if len(index) else 0
        chosen = torch.linspace(0, max(n_slides - 1, 0), min(n_slides, as_whole(max_slides, "max_slides", 1))).long()
        place = torch.arange(len(index)) - torch.searchsorted(index, index)
        self.roles = torch.zeros(len(index), dtype=torch.long)
        if groups is None:
            names: list[str | None] = [str(slide) for slide in range(n_slides)]
            self.roles[:] = torch.where(place % 2 == 0, _TRAIN, _TEST)
        else:
            names = list(groups)
            self.roles[:] = _roles_of_slides(names, chosen)[index]
        self.roles[~torch.isin(index, chosen)] = 0
        kept = sorted({name for slide in chosen.tolist() if (name := names[slide]) is not None})
        number = {name: i for i, name in enumerate(kept)}
        self.n_classes = len(kept)
        self.classes = torch.tensor([number.get(name, -1) for name in names], dtype=torch.long)[index]
        super().__init__(output_transform=lambda output: (output[key], output["region_id"]), device=device)

    def reset(self) -> None:
        """Forget all regions."""
        self._moments: dict[str, Tensor] = {}
        self._tests: list[tuple[Tensor, Tensor, Tensor]] = []

    def update(self, output: tuple[Tensor, Tensor]) -> None:
        """Add embeddings [B, d] of regions [B]: training regions to sums, test regions to a list."""
        rows, regions = output[0].detach().double(), output[1].cpu()
        roles, classes = self.roles[regions], self.classes[regions].to(rows.device)
        if not self._moments:
            dim = rows.shape[1]
            shapes = {"square": (dim, dim), "sum": (self.n_classes, dim), "count": (self.n_classes,)}
            self._moments = {
                name: torch.zeros(s, dtype=torch.float64, device=rows.device) for name, s in shapes.items()
            }
        train, test = ((roles == role).to(rows.device) for role in (_TRAIN, _TEST))
        learned, targets = rows[train], classes[train]
        self._moments["square"] += learned.T @ learned
        self._moments["sum"].index_add_(0, targets, learned)
        self._moments["count"].index_add_(0, targets, torch.ones_like(targets, dtype=torch.float64))
        self._tests.append((rows[test], classes[test], regions[roles == _TEST]))

    def compute(self) -> float:
        """Accuracy over the test regions of all processes; NaN where nothing can be told apart."""
        found = self.answers()
        if found is None:
            return float("nan")
        right = found[1]
        counts = torch.stack([right.sum(), torch.tensor(len(right), device=right.device)]).double()
        n_right, total = idist.all_reduce(counts).tolist()
        return n_right / total if total > 0 else float("nan")

    def answers(self) -> tuple[Tensor, Tensor] | None:
        """Test regions of this process, [m], and which are told rightly, bool [m]; None where nothing is told apart."""
        moments = {name: idist.all_reduce(value.clone()) for name, value in self._moments.items()}
        if not moments or int((moments["count"] > 0).sum()) < 2:
            return None
        mean, scale, weight, offset = _ridge(moments["square"], moments["sum"], moments["count"])
        guesses = [(((rows - mean) / scale) @ weight + offset).argmax(1) for rows, *_ in self._tests]
        right = [guess == classes for guess, (_, classes, _) in zip(guesses, self._tests, strict=True)]
        return torch.cat([regions for *_, regions in self._tests]), torch.cat(right)

    def completed(self, engine: Engine, name: Any) -> None:
        """Write the accuracy to the engine's metrics, where there is one."""
        value = self.compute()
        if value == value:
            engine.state.metrics[name] = value


def _roles_of_slides(groups: Sequence[str | None], chosen: Tensor) -> Tensor:
    """Of each group's chosen slides every second one is for training, the others are for the test."""
    roles, seen = torch.zeros(len(groups), dtype=torch.long), dict.fromkeys(groups, 0)
    for slide in chosen.tolist():
        group = groups[slide]
        if group is not None:
            roles[slide] = _TEST if seen[group] % 2 else _TRAIN
            seen[group] += 1
    return roles


def _ridge(square: Tensor, sums: Tensor, counts: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mean and scale [d] of the rows, weight [d, classes] and offset [classes], from sums over the training rows."""
    n = counts.sum()
    mean = sums.sum(0) / n
    covariance = square / n - mean[:, None] * mean
    scale = covariance.diagonal().clamp(min=0).sqrt()
    scale = torch.where(scale > 1e-12, scale, 1.0)
    gram = n * covariance / (scale[:, None] * scale) + _ALPHA * torch.eye(len(mean), dtype=n.dtype, device=n.device)
    towards = ((sums - counts[:, None] * mean) / scale).T  # Z^T Y, and Z has mean 0
    offset = torch.where(counts > 0, counts / n, -torch.inf)
    return mean, scale, torch.linalg.solve(gram, towards), offset
