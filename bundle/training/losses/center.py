"""The running mean of target logits that keeps one output from winning everywhere."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...core import SettingError
from ...parallel import sum_over_ranks


class Center(nn.Module):
    """EMA of the mean target logits over the global batch, zero at the start [1].

    The mean of logits is the logits of the mean bottleneck, ``mean(W h) = W mean(h)``, so d + 1 numbers cross the
    processes and no logits are made. Ranks may hold different numbers of vectors.

    Args:
        out_dim: outputs K of the last layer.
        momentum: share of the old center kept at each update, in [0, 1).

    References:
        [1] Caron et al., ICCV 2021, eq. 4.
    """

    value: Tensor

    def __init__(self, out_dim: int, momentum: float = 0.9) -> None:
        super().__init__()
        if not 0.0 <= momentum < 1.0:
            raise SettingError(f"center momentum must be in [0, 1): got {momentum}.")
        self.momentum = momentum
        self.register_buffer("value", torch.zeros(out_dim))

    @torch.no_grad()
    def moved(self, vectors: Tensor, teacher_weight: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return the center (K,) after one update, and leave the stored one alone.

        Args:
            vectors: bottlenecks of this rank, shape (..., d).
            teacher_weight: last layer of the teacher, shape (K, d); the directions of its rows count.
            valid: which vectors count, shape (...), bool; all if None. Where no rank has one, the center stays.
        """
        total = sum_over_ranks(self.sums(vectors, valid)[None])
        return moved_centers(self.value[None], total, teacher_weight, self.momentum)[0]

    @torch.no_grad()
    def sums(self, vectors: Tensor, valid: Tensor | None = None) -> Tensor:
        """Sum of this rank's vectors (..., d) that count, and their number: (d + 1,)."""
        dtype = self.value.dtype
        rows = vectors.reshape(-1, vectors.shape[-1]).to(dtype)
        if valid is None:
            return torch.cat([rows.sum(0), rows.new_full((1,), len(rows))])
        keep = valid.reshape(-1, 1)
        return torch.cat([rows.masked_fill(~keep, 0.0).sum(0), keep.sum(0, dtype=dtype)])

    @torch.no_grad()
    def update(self, vectors: Tensor, teacher_weight: Tensor, valid: Tensor | None = None) -> None:
        """Store what :meth:`moved` returns for the same arguments."""
        self.value.copy_(self.moved(vectors, teacher_weight, valid))


@torch.no_grad()
def moved_centers(values: Tensor, totals: Tensor, teacher_weight: Tensor, momentum: float) -> Tensor:
    """Centers (n, K) after one update of each; the lengths of the weight's rows are found once.

    Args:
        values: the centers before, (n, K).
        totals: sums and numbers of vectors over all ranks, (n, d + 1); where the number is 0 a center stays.
        teacher_weight: last layer of the teacher, (K, d); the directions of its rows count.
        momentum: share of the old centers kept, in [0, 1).
    """
    count = totals[:, -1:]
    means = totals[:, :-1] / count.clamp(min=1.0)
    with torch.autocast(values.device.type, enabled=False):
        norm = torch.linalg.vector_norm(teacher_weight, dim=1, dtype=values.dtype).clamp_(min=1e-12)
        weight = teacher_weight.to(values.dtype)
        mean_logits = torch.stack([weight @ mean for mean in means]) / norm
    moved = values * momentum + mean_logits * (1.0 - momentum)
    return torch.where(count > 0, moved, values)
