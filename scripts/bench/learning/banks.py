"""Other ways to make and to match prototypes, to be compared with the paper's."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from bundle.prototypes import Neighbors, PrototypeBank, matched_similarity


class MeanVectorBank(PrototypeBank):
    """Slides are neighbors when their mean prototypes are similar; prototypes are then paired as in the paper."""

    def match(self) -> dict[str, float]:
        """Find the most similar slides by the cosine of mean prototypes."""
        n_valid = self.valid.sum(1)
        means = normalize(self.vectors.sum(1), dim=1)
        cosines = (means @ means.T).fill_diagonal_(-torch.inf)
        cosines[:, n_valid == 0] = -torch.inf
        similarity, index = cosines.topk(self.n_neighbors, dim=1)
        similarity[n_valid == 0] = -torch.inf
        index = torch.where(similarity > -torch.inf, index, -1)
        partners = [
            matched_similarity(self.vectors, self.valid, self.vectors[other], self.valid[other])[1]
            for other in index.clamp(min=0).T
        ]
        partner = torch.stack(partners, 1)
        self.neighbors = Neighbors(index, similarity, torch.where(index[..., None] >= 0, partner, -1))
        self._is_matched, self._tables = True, None
        return {"neighbor_similarity": float(similarity[similarity > -torch.inf].mean())}


class GlobalBank(PrototypeBank):
    """One set of prototypes for all slides together; nobody has neighbors, so ``n_neighbors`` must be 0."""

    def fit(self, features: Tensor, slide_index: Tensor, n_slides: int) -> dict[str, float]:
        """Cluster the regions of all slides as if they were one slide's."""
        return super().fit(features, torch.zeros_like(slide_index), 1)
