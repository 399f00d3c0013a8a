"""Spreads what it is given: each vector is pushed away from the nearest other one of its batch."""

from __future__ import annotations

import ignite.distributed as idist
import torch
from torch import Tensor
from torch.nn.functional import normalize, pairwise_distance

from ...parallel import rows_of_ranks

_EPSILON = 1e-8


def koleo(vectors: Tensor) -> Tensor:
    """``-mean over v and b of log(|x_vb - x_vn(b)| + 1e-8)``, n(b) the nearest other region in view v [1, 2].

    The entropy of the batch as Kozachenko and Leonenko estimate it, up to sign and constants. Views are compared with
    views of the same number only, so a region is never pushed away from itself. Fewer than two regions give 0.

    Args:
        vectors: V views of this rank's B regions, shape (V, B, d); their directions count. Regions of all ranks are
            each other's neighbors.

    Returns:
        Nats, the same on every rank; scaled so that the mean over ranks of the gradient is that of the global loss.

    References:
        [1] Sablayrolles et al., "Spreading vectors for similarity search", ICLR 2019; [2] Oquab et al., "DINOv2".
    """
    with torch.autocast(vectors.device.type, enabled=False):
        rows = vectors if vectors.dtype == torch.float64 else vectors.float()
        found, valid = rows_of_ranks(normalize(rows, dim=2).transpose(0, 1))
        value = -torch.where(valid.sum() > 1, _mean_log_distance(found.transpose(0, 1), valid), 0.0)
    world = idist.get_world_size()
    return value if world == 1 else value * world - (value * (world - 1)).detach()


def _mean_log_distance(rows: Tensor, valid: Tensor) -> Tensor:
    """Of rows (V, N, d), where ``valid`` (N,), to their nearest valid other ones of the same view."""
    with torch.no_grad():
        cosines = (rows @ rows.mT).masked_fill_(~valid, -torch.inf)
        cosines.diagonal(dim1=1, dim2=2).fill_(-torch.inf)
        nearest = cosines.argmax(2)
    others = rows[torch.arange(len(rows), device=rows.device)[:, None], nearest]
    distances = pairwise_distance(rows, others, eps=_EPSILON)  # never 0, so there is a gradient
    return torch.where(valid, (distances + _EPSILON).log(), 0.0).sum() / (len(rows) * valid.sum().clamp(min=1))
