"""How the published implementation computes, restated from its description: loops, whole blocks, host code.

What ours is compared with is here, to be read in one place. Values agree with ours (tests say so); the ways differ.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bundle.networks import Distiller, resized_positions
from bundle.prototypes import PrototypeTargets


def logits(last_layer: nn.Module, bottlenecks: Tensor) -> Tensor:
    """Bottlenecks (..., d) -> logits (..., K); the weight is normalized anew at each call."""
    return F.linear(bottlenecks, F.normalize(last_layer.weight_v, dim=-1))  # type: ignore[arg-type]


def cross_entropies(student: Tensor, targets: Tensor, student_temperature: float) -> Tensor:
    """Mean over pairs of a target row t and a student view s, s != t, of the mean over regions of H.

    Args:
        student: logits of S views, (S, B, K).
        targets: distributions, (T, B, K).
        student_temperature: above 0.
    """
    total, n_terms = student.new_zeros(()), 0
    for t, target in enumerate(targets):
        for s, guess in enumerate(student):
            if s == t:
                continue
            total = total + (-target * F.log_softmax(guess / student_temperature, dim=-1)).sum(-1).mean()
            n_terms += 1
    return total / n_terms


def slpd_loss(
    student: Tensor,
    teacher: Tensor,
    prototypes: Tensor | None,
    centers: tuple[Tensor, Tensor],
    temperatures: tuple[float, float],
) -> Tensor:
    """DINO, then each prototype row by itself, all from logits.

    Args:
        student: (S, B, K).
        teacher: (T, B, K), of the first T views.
        prototypes: (1 + R, B, K), the teacher's logits of prototypes, or None.
        centers: of teacher and prototypes, (K,) each.
        temperatures: of student and teacher.
    """
    views = ((teacher - centers[0]) / temperatures[1]).softmax(-1)
    loss = cross_entropies(student, views, temperatures[0])
    if prototypes is None:
        return loss
    own = ((prototypes[:1] - centers[1]) / temperatures[1]).softmax(-1)
    loss = loss + cross_entropies(student, own, temperatures[0])
    for neighbor in prototypes[1:]:
        theirs = ((neighbor[None] - centers[1]) / temperatures[1]).softmax(-1)
        loss = loss + cross_entropies(student, theirs, temperatures[0]) / (len(prototypes) - 1)
    return loss


def backbone(vit: nn.Module, crop: Tensor, drop_path: bool = False) -> Tensor:
    """A region ViT applied plainly: phi on the crop, attention as three products, every block on every token.

    Args:
        vit: a :class:`~bundle.networks.RegionViT`; its weights are used, not its ``forward``.
        crop: (B, D, H, W).
        drop_path: stochastic depth by multiplying each sample's branch with 0 or 1 / keep.
    """
    return _encode(vit, vit.phi(crop.flatten(2).mT), crop.shape[-2], crop.shape[-1], drop_path)  # type: ignore[operator]


def patch_tokens(vit: nn.Module, pixels: Tensor) -> Tensor:
    """A patch ViT applied in the same way: normalized images (B, 3, H, W) -> tokens (B, dim)."""
    projection: nn.Conv2d = vit.patch_embed.proj  # type: ignore[assignment,union-attr]
    grid = F.conv2d(pixels, projection.weight, projection.bias, stride=projection.stride)
    return _encode(vit, grid.flatten(2).mT, grid.shape[-2], grid.shape[-1])


def _encode(vit: nn.Module, x: Tensor, height: int, width: int, drop_path: bool = False) -> Tensor:
    positions = resized_positions(vit.pos_embed, vit.n_positions, height, width)  # type: ignore[arg-type]
    x = torch.cat([vit.cls_token.expand(len(x), -1, -1), x], 1) + positions  # type: ignore[operator]
    for block, rate in zip(vit.blocks, vit.drop_rates[::2], strict=True):  # type: ignore[arg-type,index]
        keep = 1.0 - rate if drop_path else 1.0
        x = x + _branch(_attention(block.attn, block.norm1(x)), keep)
        x = x + _branch(block.mlp(block.norm2(x)), keep)
    return vit.norm(x)[:, 0]  # type: ignore[operator]


def _attention(attention: nn.Module, x: Tensor) -> Tensor:
    B, N, dim = x.shape  # noqa: N806
    n_heads: int = attention.n_heads  # type: ignore[assignment]
    q, k, v = attention.qkv(x).reshape(B, N, 3, n_heads, dim // n_heads).permute(2, 0, 3, 1, 4)  # type: ignore[operator]
    weights = ((q @ k.transpose(-2, -1)) * (dim // n_heads) ** -0.5).softmax(dim=-1)
    return attention.proj((weights @ v).transpose(1, 2).reshape(B, N, dim))  # type: ignore[operator]


def _branch(branch: Tensor, keep: float) -> Tensor:
    if keep == 1.0:
        return branch
    kept = (keep + torch.rand(len(branch), 1, 1, device=branch.device)).floor_()
    return branch / keep * kept


def forward(distiller: Distiller, views: Sequence[Tensor], drop_path: bool = False) -> Tensor:
    """Groups of views (v, B, D, H, W) -> logits (sum of v, B, K): a backbone pass a size, then head and last layer."""
    embeddings = torch.cat([backbone(distiller.encoder.backbone, group.flatten(0, 1), drop_path) for group in views])
    bottlenecks = F.normalize(distiller.encoder.head.mlp(embeddings).float(), dim=-1)  # type: ignore[operator, union-attr]
    return logits(distiller.last_layer, bottlenecks).unflatten(0, (-1, views[0].shape[1]))


def random_crop(grid: Tensor, size: int) -> Tensor:
    """A window of a token grid (D, H, W), flipped from left to right or not."""
    top, left = (int(n) for n in torch.randint(grid.shape[-1] - size + 1, (2,)))
    crop = grid[:, top : top + size, left : left + size]
    return crop.flip(-1) if float(torch.rand(())) < 0.5 else crop


def crops_by_sample(data: Tensor) -> list[Tensor]:
    """Token grids (B, 16, 16, D) -> 2 crops of 14 x 14 and 8 of 6 x 6, float32, a sample and a crop at a time."""
    groups = []
    for n_views, size in ((2, 14), (8, 6)):
        views = []
        for _ in range(n_views):
            views.append(torch.stack([random_crop(grid, size) for grid in data.float().permute(0, 3, 1, 2)]))
        groups.append(torch.stack(views))
    return groups


def train_step(
    student: Distiller,
    teacher: Distiller,
    optimizer: torch.optim.Optimizer,
    views: Sequence[Tensor],
    targets: PrototypeTargets | None,
    centers: tuple[Tensor, Tensor],
    uses_bf16: bool = False,
) -> float:
    """Forward, loss, backward, clipping tensor by tensor, step, centers, EMA tensor by tensor; the loss on the host."""
    with torch.autocast(views[0].device.type, torch.bfloat16, enabled=uses_bf16):
        with torch.no_grad():
            teacher_logits = forward(teacher, views[:1])
            prototype_logits = None if targets is None else logits(teacher.last_layer, targets.vectors)
        student_logits = forward(student, views, drop_path=True)
        loss = slpd_loss(student_logits, teacher_logits, prototype_logits, centers, (0.1, 0.04))
    optimizer.zero_grad()
    loss.backward()
    for parameter in student.parameters():
        if parameter.grad is not None:
            norm = parameter.grad.norm().item()
            if norm > 3.0:
                parameter.grad.mul_(3.0 / (norm + 1e-6))
    optimizer.step()
    with torch.no_grad():
        for center, found in zip(centers, (teacher_logits, prototype_logits), strict=True):
            if found is not None:
                center.mul_(0.9).add_(found.flatten(0, 1).float().mean(0), alpha=0.1)
        for slow, quick in zip(teacher.parameters(), student.parameters(), strict=True):
            slow.mul_(0.996).add_(quick.detach(), alpha=0.004)
    return loss.item()


def region_features(teacher: Distiller, crops: Tensor, uses_bf16: bool = False) -> Tensor:
    """Bottlenecks (N, d) of center crops (N, D, H, W), with the logits that the head's forward makes on the way."""
    with torch.no_grad(), torch.autocast(crops.device.type, torch.bfloat16, enabled=uses_bf16):
        embeddings = backbone(teacher.encoder.backbone, crops)
        bottlenecks = F.normalize(teacher.encoder.head.mlp(embeddings).float(), dim=-1)  # type: ignore[operator, union-attr]
        logits(teacher.last_layer, bottlenecks)
    return bottlenecks


def kmeans_of_slides(points: Any, lengths: Sequence[int], n_clusters: int) -> tuple[Tensor, Tensor, float]:
    """faiss, a slide after the other, with a concentration of each cluster and Python lists in between.

    Args:
        points: float32 array (N, d), grouped by slide.
        lengths: regions of each slide.
        n_clusters: K; slides with fewer regions are left out.

    Returns:
        Normalized centroids (S, K, d), assignment padded to the longest slide (S, L), and the summed inertia.
    """
    centroids = torch.zeros(len(lengths), n_clusters, points.shape[1])
    assignment = torch.zeros(len(lengths), max(lengths), dtype=torch.long)
    inertia, start = 0.0, 0
    for slide, length in enumerate(lengths):
        rows, start = points[start : start + length], start + length
        if length < n_clusters:
            continue
        found, distance, nearest = _faiss_kmeans(rows, n_clusters)
        labels = [int(row[0]) for row in nearest]
        distances: list[list[float]] = [[] for _ in range(n_clusters)]
        for region, label in enumerate(labels):
            distances[label].append(distance[region][0])
        _concentrations(distances)
        centroids[slide] = F.normalize(torch.tensor(found), dim=1)
        assignment[slide, :length] = torch.tensor(labels)
        inertia += float(distance.sum())
    return centroids, assignment, inertia


def _faiss_kmeans(rows: Any, n_clusters: int) -> tuple[Any, Any, Any]:
    import faiss

    engine = faiss.Clustering(rows.shape[1], n_clusters)
    engine.niter, engine.nredo, engine.seed = 10, 5, 0
    engine.max_points_per_centroid, engine.min_points_per_centroid = 1000, 1
    index = faiss.IndexFlatL2(rows.shape[1])
    engine.train(rows, index)
    distance, nearest = index.search(rows, 1)
    return faiss.vector_to_array(engine.centroids).reshape(n_clusters, -1), distance, nearest


def _concentrations(distances: Sequence[Sequence[float]]) -> Any:
    """Temperature of each cluster from its mean distance and size, clipped to the middle 80 %."""
    found = np.zeros(len(distances))
    for cluster, members in enumerate(distances):
        if len(members) > 1:
            found[cluster] = (np.asarray(members) ** 0.5).mean() / np.log(len(members) + 10)
    for cluster, members in enumerate(distances):
        if len(members) <= 1:
            found[cluster] = found.max()
    return found.clip(np.percentile(found, 10), np.percentile(found, 90))


def match_by_permutations(prototypes: Tensor, n_neighbors: int = 1) -> tuple[Tensor, Tensor]:
    """Similarity and index (N, R) of each slide's nearest others, from a tensor N x N x K!, a product a permutation.

    Args:
        prototypes: (N, K, d), L2-normalized.
        n_neighbors: R.
    """
    n_slides, size, _ = prototypes.shape
    orders = list(itertools.permutations(range(size)))
    sums = torch.zeros(n_slides, n_slides, len(orders))
    for number, order in enumerate(orders):
        sums[:, :, number] = torch.einsum("nkd,mkd->nm", prototypes, prototypes[:, list(order)])
    best = sums.amax(-1) / size
    best.fill_diagonal_(-math.inf)
    return torch.topk(best, n_neighbors, dim=-1)
