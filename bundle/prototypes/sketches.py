"""Short vectors whose products are never below the cosines of long ones, and what they say of sets."""

from __future__ import annotations

import torch
from torch import Tensor

from ..parallel import full_precision
from .matching import similarity_bound

_SAMPLED = 20_000  # sets from which directions are taken


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


class SetSketch:
    """Prototypes in their own principal directions, and the length of what that leaves out.

    Each prototype is kept as ``n_dims`` coordinates and one length (:func:`sketched`), whose product is never below
    the cosine: sums of such products bound similarity, loosely perhaps, but always from above.

    Args:
        sets: prototypes of S slides, L2-normalized, shape (S, K, d).
        valid: which of them exist, shape (S, K), bool.
        n_dims: of the subspace; a quarter of d or less saves memory traffic.
    """

    @full_precision()
    def __init__(self, sets: Tensor, valid: Tensor, n_dims: int = 63) -> None:
        step = max(1, -(-len(sets) // _SAMPLED))
        self.basis = principal_directions(sets[::step][valid[::step]])[:, :n_dims]
        sketch = sketched(sets if valid.all() else torch.where(valid[..., None], sets, 0), self.basis)
        self.sketch = sketch.permute(2, 1, 0).contiguous()  # slides last: maxima run along them
        self.size, self.n_valid = sets.shape[1], valid.sum(1)
        self.all_valid = bool(valid.all())

    @full_precision()
    def bounds(self, query: Tensor) -> Tensor:
        """Upper bounds (S,) of the similarity of each set with that of a query (K', d); -inf for empty sets."""
        products = (sketched(query, self.basis) @ self.sketch.flatten(1)).view(len(query), self.size, -1)
        is_square = self.all_valid and len(query) == self.size
        sizes = self.size if is_square else (torch.full_like(self.n_valid, len(query)), self.n_valid)
        return similarity_bound(products, sizes, (0, 1)).masked_fill_(self.n_valid == 0, -torch.inf)
