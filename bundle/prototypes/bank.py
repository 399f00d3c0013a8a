"""The prototypes of all slides of a run, and what a batch of regions is pulled to."""

from __future__ import annotations

from functools import partial
from math import isfinite
from typing import Literal

import ignite.distributed as idist
import torch
from torch import Tensor
from torch.nn.functional import normalize, pad

from ..core import BundleError, Progress
from ..parallel import hand_over, own_slides, sum_over_ranks
from .faiss_clusters import faiss_kmeans
from .kmeans import Clusters, batched_kmeans
from .matching import best_assignment
from .neighbors import Neighbors, merged_neighbors, nearest_slides
from .statistics import clustering_stats, neighbor_stats
from .targets import PrototypeChoices, PrototypeTargets

_BACKENDS = {"batched": batched_kmeans, "faiss": faiss_kmeans}
_PROGRESS_AFTER = 5.0  # seconds


class PrototypeBank:
    """Cluster each slide's regions, match slides, and tell each region which prototypes to match [1].

    :meth:`fit` and then :meth:`match` at the start of an epoch, :meth:`targets` in each step.

    Args:
        n_prototypes: K, clusters of a slide; fewer where it has fewer distinct regions. At least 1.
        n_neighbors: R, similar slides that lend a prototype. At least 0.
        min_regions: slides with fewer regions get no prototypes. At least 1.
        kmeans_restarts: K-means runs, the best of which counts.
        kmeans_iterations: iterations of each.
        seed: seed of K-means.
        prototype_match: "assignment" (the paper) or "nearest", see :func:`bundle.prototypes.nearest_slides`.
        kmeans_backend: "batched" (all slides at once, on the device of the features) or "faiss" (one by one, CPU).
        trained_regions: the regions that are clustered, ascending int64 [n]; the others get no prototype. None: all.
        prototype_task: "assign": targets come with all prototypes of their slides; "distill": with their own alone.

    Attributes:
        vectors: L2-normalized prototypes, shape (S, K, d).
        valid: which of them exist, shape (S, K), bool.
        assignment: prototype of each region, shape (N,), int64, -1 for none.
        slide_index: slide of each region, shape (N,), int64.
        neighbors: what :meth:`match` found, or None.

    Raises:
        BundleError: an argument outside its range.

    References:
        [1] Yu, Lin, Xu, "SLPD", MICCAI 2023.
    """

    def __init__(
        self,
        n_prototypes: int,
        n_neighbors: int = 1,
        min_regions: int = 2,
        *,
        kmeans_restarts: int = 5,
        kmeans_iterations: int = 10,
        seed: int = 0,
        prototype_match: Literal["assignment", "nearest"] = "assignment",
        kmeans_backend: Literal["batched", "faiss"] = "batched",
        trained_regions: Tensor | None = None,
        prototype_task: Literal["distill", "assign"] = "distill",
    ) -> None:
        if kmeans_backend not in _BACKENDS or prototype_match not in ("assignment", "nearest"):
            raise BundleError(
                "prototypes need a kmeans_backend (batched or faiss) and a prototype_match (assignment or nearest): "
                f"got {kmeans_backend!r} and {prototype_match!r}."
            )
        if min(n_prototypes, min_regions, kmeans_restarts, kmeans_iterations) < 1 or n_neighbors < 0:
            raise BundleError(
                "n_prototypes, min_regions, kmeans_restarts and kmeans_iterations must be at least 1 and n_neighbors "
                f"at least 0: got {n_prototypes}, {min_regions}, {kmeans_restarts}, {kmeans_iterations} and "
                f"{n_neighbors}."
            )
        self.n_prototypes, self.n_neighbors, self.min_regions = n_prototypes, n_neighbors, min_regions
        self.n_restarts, self.n_iterations, self.seed = kmeans_restarts, kmeans_iterations, seed
        self.matching, self.backend, self.chosen = prototype_match, kmeans_backend, trained_regions
        self.gives_choices = prototype_task == "assign"
        self._clear()

    def _clear(self) -> None:
        self.vectors = torch.zeros(0, self.n_prototypes, 0)
        self.valid = torch.zeros(0, self.n_prototypes, dtype=torch.bool)
        self.assignment = self.slide_index = torch.zeros(0, dtype=torch.long)
        self.neighbors: Neighbors | None = None
        self._is_matched = False
        self._tables: tuple[torch.device, tuple[Tensor, ...]] | None = None

    @property
    def is_fitted(self) -> bool:
        """Whether there has been a clustering."""
        return len(self.assignment) > 0

    def fit(self, features: Tensor, slide_index: Tensor, n_slides: int) -> dict[str, float]:
        """Cluster each slide; prototypes keep the numbers of the last fit of the same regions.

        With several processes each clusters its share of the slides, and all end with the same result. Neighbors of an
        earlier :meth:`match` are used no more until the next one, which compares itself with them.

        Args:
            features: L2-normalized bottlenecks of all N regions, shape (N, d), the same on every rank.
            slide_index: slide of each region, shape (N,), int64 in [0, n_slides), ascending.
            n_slides: S.

        Returns:
            See :func:`bundle.prototypes.clustering_stats`.

        Raises:
            BundleError: a feature is not finite.
        """
        if len(features) and not all(map(isfinite, torch.stack(features.aminmax()).tolist())):  # without a copy of them
            raise BundleError(
                f"clustering needs finite features: {int((~features.isfinite().all(1)).sum())} of {len(features)} "
                f"regions have a NaN or an infinity, so training has diverged; lower lr, or turn amp off."
            )
        slide_index = slide_index.to(features.device)
        clusters = self._clusters_of_chosen(features, slide_index, n_slides)
        is_same = torch.equal(self.slide_index.to(features.device), slide_index) and len(self.valid) == n_slides
        before = self.assignment.to(features.device) if self.is_fitted and is_same else None
        if before is not None:
            clusters = _renamed_after(clusters, before, slide_index)
        self.vectors = normalize(clusters.centroids, dim=2, out=clusters.centroids).mul_(clusters.valid[..., None])
        self.valid, self.assignment, self.slide_index = clusters.valid, clusters.assignment, slide_index
        self._is_matched, self._tables = False, None
        return clustering_stats(clusters, slide_index, before)

    def _clusters_of_chosen(self, features: Tensor, slide_index: Tensor, n_slides: int) -> Clusters:
        if self.chosen is None:
            return self._clusters(features, slide_index, n_slides)
        chosen = self.chosen.to(features.device)
        clusters = self._clusters(features[chosen], slide_index[chosen], n_slides)
        assignment = torch.full_like(slide_index, -1).index_copy_(0, chosen, clusters.assignment)
        return clusters._replace(assignment=assignment)

    def _clusters(self, features: Tensor, slide_index: Tensor, n_slides: int) -> Clusters:
        n_regions = torch.bincount(slide_index, minlength=n_slides)
        is_clustered = (n_regions >= self.min_regions) & own_slides(n_regions)
        clusters = _BACKENDS[self.backend](
            features,
            slide_index,
            torch.where(is_clustered, self.n_prototypes, 0),
            n_restarts=self.n_restarts,
            n_iterations=self.n_iterations,
            seed=self.seed,
        )
        missing = self.n_prototypes - clusters.valid.shape[1]
        return Clusters(
            sum_over_ranks(pad(clusters.centroids, (0, 0, 0, missing))),
            sum_over_ranks(pad(clusters.valid, (0, missing)).int()).bool(),
            sum_over_ranks(clusters.assignment + 1) - 1,
            sum_over_ranks(clusters.inertia),
        )

    def match(self) -> dict[str, float]:
        """Find the most similar slides of each slide; returns what :func:`bundle.prototypes.neighbor_stats` does.

        With several processes each compares its share of the pairs, and all end with the same result.

        Raises:
            BundleError: there has been no :meth:`fit`.
        """
        if not self.is_fitted:
            raise BundleError("slides cannot be matched before they are clustered: call fit first.")
        before, share = self.neighbors, (idist.get_rank(), idist.get_world_size())
        found = nearest_slides(
            self.vectors,
            self.valid,
            self.n_neighbors,
            match=self.matching,
            share=share,
            progress=partial(Progress, desc="matching slides", delay=_PROGRESS_AFTER, leave=False),
        )
        self.neighbors = merged_neighbors(Neighbors(*(idist.all_gather(each[None].contiguous()) for each in found)))
        self._is_matched, self._tables = True, None
        if before is not None:
            before = Neighbors(*(value.to(self.vectors.device) for value in before))
        return neighbor_stats(self.neighbors, before)

    def targets(self, region_ids: Tensor, device: torch.device | str) -> PrototypeTargets:
        """Prototypes that a batch of B regions shall match, on ``device``; between fit and match no neighbor's.

        Args:
            region_ids: position of each region in the features of :meth:`fit`, shape (B,), int64. They are looked up
                where they lie, in tables that are copied there once per clustering: on the host, a step needs few
                launches.
            device: where the targets are wanted.

        Raises:
            BundleError: there has been no :meth:`fit`, or a region was not there.
        """
        if not self.is_fitted:
            raise BundleError("there are no prototypes to match: call fit first.")
        if region_ids.device.type == "cpu" and len(region_ids) and int(region_ids.max()) >= len(self.assignment):
            raise BundleError(
                f"region {int(region_ids.max())} has no prototype: only {len(self.assignment)} regions were clustered, "
                f"so the token files have changed since; fit again, or start without the checkpoint's prototypes."
            )
        vectors, valid, assignment, slide_index, index, partner = self._on_device(region_ids.device)
        slide, own = slide_index[region_ids], assignment[region_ids]
        is_assigned, own = own >= 0, own.clamp(min=0)
        lender, lent = index[slide].T, partner[slide, :, own].T
        slides = torch.cat([slide[None], lender.clamp(min=0)])
        numbers = torch.cat([own[None], lent.clamp(min=0)])
        exists = torch.cat([is_assigned[None], (lender >= 0) & (lent >= 0) & is_assigned]) & valid[slides, numbers]
        device = torch.device(device)
        targets = PrototypeTargets(hand_over(vectors[slides, numbers], device), hand_over(exists, device))
        if not self.gives_choices:
            return targets
        choices = (hand_over(value, device) for value in (vectors[slides], valid[slides], numbers))
        return targets._replace(choices=PrototypeChoices(*choices))

    def _on_device(self, device: torch.device) -> tuple[Tensor, ...]:
        if self._tables is None or self._tables[0] != device:
            index = self.valid.new_full((len(self.valid), self.n_neighbors), -1, dtype=torch.long)
            partner = index[..., None].expand(-1, -1, self.n_prototypes)
            if self.neighbors is not None and self._is_matched:
                index, partner = self.neighbors.index, self.neighbors.partner
            tables = (self.vectors, self.valid, self.assignment, self.slide_index, index, partner)
            self._tables = device, tuple(table.to(device) for table in tables)
        return self._tables[1]

    def state_dict(self) -> dict[str, Tensor]:
        """Everything :meth:`targets` needs, as CPU tensors; empty before the first fit."""
        if not self.is_fitted:
            return {}
        names = ("vectors", "valid", "assignment", "slide_index")
        state = {name: getattr(self, name).cpu() for name in names}
        if self.neighbors is not None and self._is_matched:
            state |= {f"neighbor_{name}": value.cpu() for name, value in self.neighbors._asdict().items()}
        return state

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over what :meth:`state_dict` gave.

        Raises:
            BundleError: the state holds another number of prototypes or neighbors than this bank was made for.
        """
        self._clear()
        if not state:
            return
        found = (state["valid"].shape[1], state.get("neighbor_index", torch.zeros(0, self.n_neighbors)).shape[1])
        if found != (self.n_prototypes, self.n_neighbors):
            raise BundleError(
                f"the saved prototypes do not fit: they have n_prototypes {found[0]} and n_neighbors {found[1]}, this "
                f"run asks for {self.n_prototypes} and {self.n_neighbors}; use the saved numbers, or do not resume."
            )
        self.vectors, self.valid = state["vectors"], state["valid"]
        self.assignment, self.slide_index = state["assignment"], state["slide_index"]
        if "neighbor_index" in state:
            self.neighbors = Neighbors(*(state[f"neighbor_{name}"] for name in Neighbors._fields))
            self._is_matched = True


def _renamed_after(clusters: Clusters, before: Tensor, slide_index: Tensor) -> Clusters:
    """Permute each slide's clusters so that as many regions as possible keep the number they had.

    K-means numbers its clusters at random and the embedding space turns during training, so prototypes of two epochs
    are matched by the regions they share, not by their vectors.

    Args:
        clusters: the new clustering of S slides, N regions, K clusters.
        before: assignment of the same regions in the last clustering, shape (N,), in [-1, K).
        slide_index: slide of each region, shape (N,).
    """
    n_slides, size = clusters.valid.shape
    known = (before >= 0) & (clusters.assignment >= 0)
    cell = (slide_index * size + before) * size + clusters.assignment
    shared = torch.bincount(cell[known], minlength=n_slides * size * size).view(n_slides, size, size)
    source = best_assignment(shared.double())[1]
    number = torch.empty_like(source).scatter_(1, source, torch.arange(size, device=source.device).expand_as(source))
    renamed = number[slide_index, clusters.assignment.clamp(min=0)]
    return Clusters(
        clusters.centroids.gather(1, source[..., None].expand_as(clusters.centroids)),
        clusters.valid.gather(1, source),
        torch.where(clusters.assignment >= 0, renamed, -1),
        clusters.inertia,
    )
