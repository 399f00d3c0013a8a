"""Short vectors whose products are never below the cosines of long ones."""

from __future__ import annotations

import torch
from torch import Tensor


def sketched(vectors: Tensor, basis: Tensor) -> Tensor:
    """Coordinates in a subspace, and the length of what it leaves out.

    The product of two vectors is that of their parts in a subspace plus that of the rests, which is at most the product
    of the rests' lengths (Cauchy-Schwarz). So products of sketches are at least those of the vectors, up to rounding.

    Args:
        vectors: shape (..., d), floating point.
        basis: orthonormal columns, shape (d, n).

    Returns:
        Shape (..., n + 1).
    """
    inside = vectors @ basis
    rest = torch.linalg.vector_norm(vectors - inside @ basis.T, dim=-1, keepdim=True)
    return torch.cat([inside, rest], -1)


def principal_directions(vectors: Tensor) -> Tensor:
    """Orthonormal columns (d, d) in which vectors (N, d) are longest, in descending order."""
    rows = vectors.double()
    return torch.linalg.eigh(rows.T @ rows).eigenvectors.flip(1).to(vectors.dtype).contiguous()
