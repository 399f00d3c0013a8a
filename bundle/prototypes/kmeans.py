"""K-means of many slides at once, and of one."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..parallel import full_precision, keyed_uniform

_SEEDING_STREAM = 101
_LENGTH_STEP = {"cpu": 12, "cuda": 32}  # regions; a GPU pays for each bucket, a CPU for each padded region
_BUCKET_ELEMENTS = {"cpu": 1 << 20, "cuda": 1 << 26}
_NOWHERE = 255  # cluster of what pads a slide
_MOST_COMPARED = 16  # clusters up to which one after the other is compared
_SAME_RELATIVE = 1e-6
_SAME_ROUNDING = 1e-10


class Clusters(NamedTuple):
    """K-means of S slides with at most K clusters each.

    Attributes:
        centroids: means of the clusters, not normalized, shape (S, K, d); 0 where not valid.
        valid: shape (S, K), bool; the first K_i of slide i, K_i = min(wanted, distinct points).
        assignment: nearest centroid of each point within its slide, shape (N,), int64; -1 where the slide has none.
        inertia: sum of squared distances to the nearest centroid, shape (S,).
    """

    centroids: Tensor
    valid: Tensor
    assignment: Tensor
    inertia: Tensor


@torch.no_grad()
@full_precision()
def batched_kmeans(
    points: Tensor,
    slide_index: Tensor,
    n_clusters: Tensor,
    *,
    n_restarts: int = 5,
    n_iterations: int = 10,
    seed: int = 0,
    keys: Tensor | None = None,
) -> Clusters:
    """Lloyd's algorithm from k-means++ seeds [1], best of ``n_restarts`` by inertia, slides and restarts together.

    A slide of n < d points is clustered in its n x n Gram matrix: a centroid is a mean of points, so distances to it
    follow from inner products of points. A cluster that loses all its points takes the point farthest from its own
    centroid. Random numbers are keyed by slide, so a slide's result does not depend on the slides beside it.

    Args:
        points: shape (N, d), grouped by slide.
        slide_index: slide of each point, shape (N,), int64 in [0, S), ascending.
        n_clusters: clusters wanted for each slide, shape (S,), int64; 0 leaves a slide out.
        n_restarts: at least 1.
        n_iterations: updates of the centroids, at least 1; fewer where all slides processed together have converged.
        seed: any integer.
        keys: key of each slide for the random numbers, shape (S,), int64; its position if None.

    Raises:
        ValueError: ``slide_index`` is not ascending or does not fit, or a count below 1.

    References:
        [1] Arthur and Vassilvitskii, "k-means++", SODA 2007.
    """
    if min(n_restarts, n_iterations) < 1:
        raise ValueError(f"n_restarts and n_iterations must be at least 1: got {n_restarts} and {n_iterations}.")
    n_slides, dtype = len(n_clusters), torch.float64 if points.dtype == torch.float64 else torch.float32
    if slide_index.shape != points.shape[:1] or bool((slide_index.diff() < 0).any()):
        raise ValueError("slide_index must be ascending and hold one slide for each point.")
    points = points.to(dtype)
    lengths = torch.bincount(slide_index, minlength=n_slides)
    if len(lengths) > n_slides:
        raise ValueError(f"slide_index must be below the {n_slides} slides of n_clusters: got {len(lengths) - 1}.")
    size = max(1, int(n_clusters.max())) if n_slides else 1
    result = Clusters(
        points.new_zeros(n_slides, size, points.shape[1]),
        torch.zeros(n_slides, size, dtype=torch.bool, device=points.device),
        torch.full_like(slide_index, -1),
        points.new_zeros(n_slides),
    )
    offsets = lengths.cumsum(0) - lengths
    keys = torch.arange(n_slides, device=points.device) if keys is None else keys.to(points.device)
    for slides, length in _buckets(lengths, n_clusters, points.shape[1]):
        uniforms = keyed_uniform(seed, 0, keys[slides], _SEEDING_STREAM, size * n_restarts)
        uniforms = uniforms.to(dtype).view(-1, size, n_restarts).transpose(1, 2)
        place = torch.arange(length, device=points.device)
        inside = place < lengths[slides, None]
        rows = (offsets[slides, None] + place).clamp(max=len(points) - 1)
        own = points.index_select(0, rows.flatten()).view(*rows.shape, -1)
        bucket = _Bucket(own, inside, n_clusters[slides], uniforms)
        bucket.run(n_iterations)
        best = bucket.best()
        result.centroids[slides], result.valid[slides] = best.centroids, best.valid
        result.inertia[slides] = best.inertia
        result.assignment[rows[inside]] = best.assignment[inside]
    return result


def slide_prototypes(projection: Tensor, slide_id: str, n_prototypes: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Cluster a slide's regions; its random numbers are keyed by its id, so that other slides change nothing.

    Args:
        projection: unit rows [R, d], on the CPU.
        slide_id: the slide's id.
        n_prototypes: K wanted; fewer where the slide has fewer distinct regions, 0 for none.
        seed: of K-means.

    Returns:
        Prototypes, unit rows [K, d], and the prototype of each region [R], int64, -1 where K is 0.
    """
    key = int(hashlib.sha256(slide_id.encode()).hexdigest()[:15], 16)
    one_slide = torch.zeros(len(projection), dtype=torch.int64)
    wanted, keys = torch.tensor([n_prototypes]), torch.tensor([key])
    clusters = batched_kmeans(projection, one_slide, wanted, seed=seed, keys=keys)
    return normalize(clusters.centroids[0][clusters.valid[0]], dim=1), clusters.assignment


def _buckets(lengths: Tensor, n_clusters: Tensor, dim: int) -> list[tuple[Tensor, int]]:
    """Slides of about equal length, few enough for the cache, with the length they are padded to."""
    step = _LENGTH_STEP.get(lengths.device.type, _LENGTH_STEP["cuda"])
    padded = (lengths + step - 1) // step * step
    padded = torch.where(n_clusters > 0, padded, 0)
    budget = _BUCKET_ELEMENTS.get(lengths.device.type, _BUCKET_ELEMENTS["cuda"])
    buckets = []
    for length in padded.unique().tolist():
        if length == 0:
            continue
        slides = (padded == length).nonzero()[:, 0]
        buckets += [(part, length) for part in slides.split(max(1, budget // (length * min(length, dim))))]
    return buckets


class _Bucket:
    """b slides of at most n points, r restarts, k clusters; the first axis of every tensor is the slide.

    Args:
        points: shape (b, n, d); overwritten.
        inside: which of them are the slide's own, shape (b, n).
        n_clusters: wanted, shape (b,).
        uniforms: for the seeds, shape (b, r, k).
    """

    def __init__(self, points: Tensor, inside: Tensor, n_clusters: Tensor, uniforms: Tensor) -> None:
        self.inside, self.n_clusters, self.uniforms = inside, n_clusters, uniforms
        self.n_restarts, self.size = uniforms.shape[1:]
        self.ones = inside[:, None].to(points.dtype)
        self.padding = (~inside[:, None]).to(torch.uint8).mul_(_NOWHERE)
        self.mean = (self.ones @ points) / self.ones.sum(2, keepdim=True).clamp(min=1)
        self.features = points.sub_(self.mean).mul_(inside[..., None])
        self.gram: Tensor | None = None
        if points.shape[1] < points.shape[2]:
            self.gram = self.features @ self.features.mT
            self.norms = self.gram.diagonal(dim1=1, dim2=2).contiguous()
        else:
            self.norms = torch.einsum("bnd,bnd->bn", self.features, self.features)
        spread = self.norms.amax(1)
        largest = (self.mean.norm(dim=2).squeeze(1) + spread.sqrt()).square()
        self.same = _SAME_RELATIVE * spread + _SAME_ROUNDING * largest

    def products(self, weights: Tensor) -> Tensor:
        """Inner products of each weighted sum of points (b, m, n) with each point, shape (b, m, n)."""
        if self.gram is not None:
            return weights @ self.gram
        return (weights @ self.features) @ self.features.mT

    def seed(self) -> tuple[Tensor, Tensor]:
        """Choose points by k-means++; return their inner products (b, r, k, n) and which seeds exist (b, r, k)."""
        closest = self.ones.expand(-1, self.n_restarts, -1)
        is_left = closest.new_ones(closest.shape[:2], dtype=torch.bool)
        scores, squares, exists = [], [], []
        for k in range(self.size):
            is_left = is_left & (k < self.n_clusters)[:, None]
            running = closest.cumsum(2)
            drawn = self.uniforms[:, :, k, None] * running[..., -1:]
            chosen = torch.searchsorted(running, drawn, right=True)
            chosen = torch.minimum(chosen, closest.argmax(2, keepdim=True).maximum(self._last(closest)))
            score = self._products_of(chosen)
            square = self.norms.gather(1, chosen.squeeze(2))
            distance = self.norms[:, None] - 2.0 * score + square[..., None]
            distance = torch.where(distance > self.same[:, None, None], distance, 0.0) * self.ones
            closest = distance if k == 0 else torch.minimum(closest, distance)
            scores.append(score)
            squares.append(square)
            exists.append(is_left)
            is_left = is_left & (closest.amax(2) > 0)
        self.exists = torch.stack(exists, 2)
        return torch.stack(scores, 2), torch.stack(squares, 2)

    def _products_of(self, chosen: Tensor) -> Tensor:
        """Inner products of single points (b, r, 1) with each point, shape (b, r, n)."""
        if self.gram is not None:
            return self.gram.gather(1, chosen.expand(-1, -1, self.gram.shape[2]))
        rows = self.features.gather(1, chosen.expand(-1, -1, self.features.shape[2]))
        return rows @ self.features.mT

    def _last(self, closest: Tensor) -> Tensor:
        """Last point of positive weight, shape (b, r, 1): rounding may draw beyond it."""
        place = torch.arange(closest.shape[2], device=closest.device)
        return torch.where(closest > 0, place, 0).amax(2, keepdim=True)

    def nearest(self, scores: Tensor, squares: Tensor) -> tuple[Tensor, Tensor]:
        """Squared distance to the nearest centroid less the point's own square, and its index, both (b, r, n)."""
        squares = squares.masked_fill(~self.exists, torch.inf)
        costs = torch.add(squares[..., None], scores, alpha=-2.0)
        if self.size <= _MOST_COMPARED:  # a fifth of K-means' time at K = 2: reductions over a short axis are slow
            least, assignment = costs[:, :, 0].clone(), self.padding.expand(-1, self.n_restarts, -1)
            for k in range(1, self.size):  # in ascending order: the last that was closer than all before is the nearest
                is_closer = (costs[:, :, k] < least).view(torch.uint8)
                assignment = torch.maximum(assignment, is_closer.mul_(k))
                torch.minimum(least, costs[:, :, k], out=least)
            return least, assignment
        least, assignment = costs.min(2)
        return least, torch.where(self.inside[:, None], assignment, self.size)

    def distances(self, least: Tensor) -> Tensor:
        """Squared distances (b, r, n), 0 for padding."""
        return (least + self.norms[:, None]).clamp_(min=0.0) * self.ones

    def membership(self, assignment: Tensor) -> Tensor:
        """Indicator of each cluster's points, shape (b, r, k, n)."""
        clusters = torch.arange(self.size, device=assignment.device, dtype=assignment.dtype)[:, None]
        return (assignment[:, :, None] == clusters).to(self.ones.dtype)

    def repaired(self, distance: Tensor, assignment: Tensor, members: Tensor) -> tuple[Tensor, Tensor]:
        """Give each empty cluster the point farthest from its centroid in a cluster of several."""
        moved = assignment.long().clamp_(max=self.size - 1)  # padding lies beyond
        for _ in range(self.size):
            counts = members.sum(3)
            is_empty = (counts == 0) & self.exists
            if not bool(is_empty.any()):
                break
            donors = (counts > 1).gather(2, moved) & self.inside[:, None]
            far = torch.where(donors, distance, -1.0).argmax(2, keepdim=True)
            first = is_empty.to(torch.uint8).argmax(2, keepdim=True)
            takes = is_empty.any(2, keepdim=True) & donors.any(2, keepdim=True)
            moved = moved.scatter(2, far, torch.where(takes, first, moved.gather(2, far)))
            distance = distance.scatter(2, far, torch.where(takes, 0.0, distance.gather(2, far)))
            members = self.membership(moved) * self.ones[:, :, None]
        return torch.where(self.inside[:, None], moved.to(assignment.dtype), assignment), members

    def run(self, n_iterations: int) -> None:
        scores, squares = self.seed()
        least, assignment = self.nearest(scores, squares)
        for _ in range(n_iterations):
            kept, members = assignment, self.membership(assignment)
            counts = members.sum(3)
            if bool(((counts == 0) & self.exists).any()):
                kept, members = self.repaired(self.distances(least), assignment, members)
                counts = members.sum(3)
            weights = members.div_(counts.clamp_(min=1.0)[..., None])
            scores = self.products(weights.flatten(1, 2)).view_as(weights)
            squares = torch.linalg.vecdot(weights, scores)
            least, assignment = self.nearest(scores, squares)
            if torch.equal(assignment, kept):
                break
        self.weights, self.distance, self.assignment = weights, self.distances(least), assignment

    def best(self) -> Clusters:
        """What the restart of the least inertia found."""
        inertia, restart = self.distance.sum(2).min(1)
        slides = torch.arange(len(restart), device=restart.device)
        weights = self.weights[slides, restart]
        centroids = weights @ self.features + self.mean * (weights.sum(2, keepdim=True) > 0)
        return Clusters(centroids, self.exists[slides, restart], self.assignment[slides, restart].long(), inertia)
