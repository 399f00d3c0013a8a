"""Targets that use all outputs alike within the batch: Sinkhorn-Knopp in place of a running mean."""

from __future__ import annotations

import ignite.distributed as idist
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ...core import SettingError, as_whole
from ...parallel import log_sum_exp_over_ranks, rows_of_ranks


class Sinkhorn(nn.Module):
    """What is taken from target logits so that each output gets as much of the batch as any other [1, 2].

    Sinkhorn and Knopp scale ``exp(logits / temperature)`` by turns so that outputs have equal shares and that targets
    sum to 1. A target comes last, so what is left of the scaling is a center: ``q = softmax((W h - m) / temperature)``
    with an m of this batch alone, and with nothing that moves from step to step.

    A batch of N targets makes N rows share K outputs: with N far below K each must be spread over K / N of them. A
    queue of the targets of batches before, seen through the last layer of now, takes that away.

    Args:
        bottleneck_dim: d; of use to the queue only.
        n_iterations: of the scaling, at least 1.
        n_queued: targets of earlier batches that count, over all ranks; 0: none.

    Raises:
        SettingError: an argument outside its range.

    References:
        [1] Caron et al., "SwAV", NeurIPS 2020. [2] Oquab et al., "DINOv2", TMLR 2024.
    """

    queue: Tensor
    queued: Tensor

    def __init__(self, bottleneck_dim: int = 0, n_iterations: int = 3, n_queued: int = 0) -> None:
        super().__init__()
        self.n_iterations = as_whole(n_iterations, "sinkhorn_iterations", 1)
        self.n_queued = as_whole(n_queued, "sinkhorn_queue")
        if self.n_queued:
            if bottleneck_dim < 1:
                raise SettingError(f"a queue of bottlenecks needs their width: got bottleneck_dim {bottleneck_dim}.")
            self.register_buffer("queue", torch.zeros(self.n_queued, bottleneck_dim))
            self.register_buffer("queued", torch.zeros(self.n_queued, dtype=torch.bool))

    @torch.no_grad()
    def center(
        self, vectors: Tensor, teacher_weight: Tensor, temperature: float | Tensor, valid: Tensor | None = None
    ) -> Tensor:
        """The center m (K,) of this batch and the queue; the queue stays as it is. All logits are made at once.

        Args:
            vectors: bottlenecks of this rank, shape (..., d).
            teacher_weight: last layer of the teacher, shape (K, d); the directions of its rows count.
            temperature: of the targets, above 0.
            valid: which vectors count, shape (...), bool; all if None. Where no rank has one, the center is 0.
        """
        rows = vectors.reshape(-1, vectors.shape[-1])
        keep = rows.new_ones(len(rows), dtype=torch.bool) if valid is None else valid.reshape(-1)
        if self.n_queued:
            own = slice(idist.get_rank(), None, idist.get_world_size())
            rows = torch.cat([rows.to(self.queue.dtype), self.queue[own]])
            keep = torch.cat([keep, self.queued[own]])
        return sinkhorn_center(target_logits(rows, teacher_weight), keep, temperature, self.n_iterations)

    @torch.no_grad()
    def update(self, vectors: Tensor, valid: Tensor | None = None) -> None:
        """Put the vectors (T, B, d) of all ranks that count before those of earlier batches; the oldest fall out."""
        if not self.n_queued:
            return
        marks = vectors.new_ones(vectors.shape[:2]) if valid is None else valid
        marked = torch.cat([vectors.to(self.queue.dtype), marks[..., None].to(self.queue.dtype)], 2)
        found, are_rows = rows_of_ranks(marked.transpose(0, 1))
        found = found.flatten(0, 1)
        keep = (found[:, -1] > 0) & are_rows.repeat_interleave(len(vectors))
        rows, keep = torch.cat([found[:, :-1], self.queue]), torch.cat([keep, self.queued])
        order = (~keep).to(torch.uint8).argsort(stable=True)[: self.n_queued]  # no count that the host would wait for
        self.queue.copy_(torch.where(keep[order, None], rows[order], 0.0))
        self.queued.copy_(keep[order])


@torch.no_grad()
def target_logits(vectors: Tensor, teacher_weight: Tensor) -> Tensor:
    """Logits (..., K) of bottlenecks (..., d) by a last layer (K, d) with rows of unit length, in full precision."""
    dtype = torch.float64 if vectors.dtype == torch.float64 else torch.float32
    with torch.autocast(vectors.device.type, enabled=False):
        return vectors.to(dtype) @ normalize(teacher_weight.to(dtype), dim=1).T


@torch.no_grad()
def sinkhorn_center(logits: Tensor, valid: Tensor, temperature: float | Tensor, n_iterations: int) -> Tensor:
    """What to take from the logits of all ranks so that each output has an equal share of the targets, (K,).

    Args:
        logits: of this rank's targets, shape (N, K).
        valid: which of them count, shape (N,), bool.
        temperature: of the targets, above 0.
        n_iterations: how often outputs, and then targets, are scaled; at least 1.
    """
    scaled = (logits / temperature).masked_fill_(~valid[:, None], -torch.inf)
    level = log_sum_exp_over_ranks(scaled)
    for _ in range(n_iterations - 1):
        shares = (scaled - level).log_softmax(1)  # NaN where a target does not count
        level = level + log_sum_exp_over_ranks(shares.masked_fill_(~valid[:, None], -torch.inf))
    return torch.where(level.isfinite(), level, 0.0) * temperature
