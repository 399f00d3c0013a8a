"""An upper bound of the similarity of prototype sets from few numbers each: lets most sets be passed over."""

from __future__ import annotations

import torch
from torch import Tensor

from ...parallel import full_precision
from ...prototypes import principal_directions, sketched

_SAMPLED = 20_000
_ROUNDING = 1e-5  # of sums of cosines in single precision


class SetSketch:
    """Prototypes in their own principal directions, and the length of what that leaves out.

    Each prototype is kept as ``n_dims`` coordinates and one length (:func:`bundle.prototypes.sketched`), whose product
    is never below the cosine. Similarity is then bounded by the smaller of two means: of the largest products of the
    query's prototypes, and of the set's; loosely perhaps, but always from above.

    Args:
        sets: prototypes of S slides, L2-normalized, shape (S, K, d).
        valid: which of them exist, shape (S, K), bool.
        n_dims: of the subspace; a quarter of d or less saves memory traffic.
    """

    @full_precision()
    def __init__(self, sets: Tensor, valid: Tensor, n_dims: int = 63) -> None:
        step = max(1, -(-len(sets) // _SAMPLED))
        self.basis = principal_directions(sets[::step][valid[::step]])[:, :n_dims]
        self.sketch = sketched(sets, self.basis).permute(2, 1, 0).contiguous()  # slides last: maxima run along them
        self.valid, self.n_valid = valid.T.contiguous(), valid.sum(1)
        self.all_valid = bool(valid.all())

    @full_precision()
    def bounds(self, query: Tensor) -> Tensor:
        """Upper bounds (S,) of the similarity of each set with that of a query (K', d); -inf for empty sets."""
        n_query, n_sets = len(query), len(self.n_valid)
        cosines = (sketched(query, self.basis) @ self.sketch.flatten(1)).view(n_query, -1, n_sets)
        if not self.all_valid:
            cosines.masked_fill_(~self.valid, -torch.inf)
        of_query, of_set = cosines.amax(1).sum(0), cosines.amax(0).masked_fill_(~self.valid, 0).sum(0)
        # Only the members of the smaller set are sure to be matched, so only their maxima bound the sum.
        of_query.masked_fill_(self.n_valid < n_query, torch.inf)
        of_set.masked_fill_(self.n_valid > n_query, torch.inf)
        bounds = torch.minimum(of_query, of_set).div_(self.n_valid.clamp(1, n_query)).add_(_ROUNDING)
        return bounds.masked_fill_(self.n_valid == 0, -torch.inf)
