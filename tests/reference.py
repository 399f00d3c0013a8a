"""Every equation once more, slowly: loops that can be checked by eye against the papers."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor


def units(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Random directions (..., d), drawn in float64 whatever the type."""
    return torch.nn.functional.normalize(torch.randn(*shape, dtype=torch.float64), dim=-1).to(dtype)


def unit_rows(weight: Tensor) -> Tensor:
    """Weight norm with a gain of 1."""
    return weight / weight.square().sum(1, keepdim=True).sqrt()


def target_distribution(vector: Tensor, weight: Tensor, center: Tensor, temperature: float) -> Tensor:
    """q = softmax((W h - center) / temperature), shape (K,)."""
    logits = (unit_rows(weight) @ vector - center) / temperature
    exponentials = (logits - logits.max()).exp()
    return exponentials / exponentials.sum()


def cross_entropy(target: Tensor, vector: Tensor, weight: Tensor, temperature: float) -> Tensor:
    """H(q, z) = -sum q log softmax(z / temperature)."""
    logits = unit_rows(weight) @ vector / temperature
    return -(target * (logits - logits.logsumexp(0))).sum()


def dino_loss(
    student: Tensor,
    student_weight: Tensor,
    teacher: Tensor,
    teacher_weight: Tensor,
    center: Tensor,
    student_temperature: float,
    teacher_temperature: float,
) -> Tensor:
    """The double loop over teacher views and student views, mean over regions and pairs."""
    total, n_terms = student.sum() * 0, 0
    for iq in range(len(teacher)):
        for v in range(len(student)):
            if v == iq:
                continue
            for b in range(student.shape[1]):
                q = target_distribution(teacher[iq, b], teacher_weight, center, teacher_temperature)
                total = total + cross_entropy(q, student[v, b], student_weight, student_temperature)
                n_terms += 1
    return total / n_terms


def assignment_loss(student: Tensor, targets, rows: list[int], temperature: float) -> Tensor:
    """-log softmax of a view's cosines with the prototypes of a slide at the region's, mean over views and regions."""
    total, n_terms = student.sum() * 0, 0
    vectors, exists, number = targets.choices
    for r in rows:
        for b in range(student.shape[1]):
            if not targets.valid[r, b]:
                continue
            there = [k for k in range(vectors.shape[2]) if exists[r, b, k]]
            for view in student[:, b]:
                logits = torch.stack([vectors[r, b, k] @ view / temperature for k in there])
                total = total + logits.logsumexp(0) - logits[there.index(int(number[r, b]))]
                n_terms += 1
    return total / max(n_terms, 1)


def prototype_loss(
    student: Tensor,
    student_weight: Tensor,
    vectors: Tensor,
    valid: Tensor,
    teacher_weight: Tensor,
    center: Tensor,
    student_temperature: float,
    teacher_temperature: float,
    skip_first_view: bool = False,
) -> Tensor:
    """Mean over views and over the valid prototypes (r, b); 0 if there is none."""
    total, n_terms = student.sum() * 0, 0
    for r in range(len(vectors)):
        for b in range(student.shape[1]):
            if not valid[r, b]:
                continue
            q = target_distribution(vectors[r, b], teacher_weight, center, teacher_temperature)
            for v in range(1 if skip_first_view else 0, len(student)):
                total = total + cross_entropy(q, student[v, b], student_weight, student_temperature)
                n_terms += 1
    return total / max(n_terms, 1)


def chosen(prototypes, rows) -> list[Tensor]:
    """The vectors of some rows of prototypes, where they are valid."""
    return [vector for row in rows for vector in prototypes.vectors[row][prototypes.valid[row]]]


def updated_center(center: Tensor, vectors: list[Tensor], weight: Tensor, momentum: float = 0.9) -> Tensor:
    """center <- momentum center + (1 - momentum) mean of logits; no vector, no update."""
    if not vectors:
        return center
    mean = sum(unit_rows(weight) @ vector for vector in vectors) / len(vectors)
    return momentum * center + (1 - momentum) * mean


def sinkhorn_center(vectors: list[Tensor], weight: Tensor, temperature: float, n_iterations: int) -> Tensor:
    """By turns each output's probabilities, and each vector's, are made to sum to 1; what that divides an output by."""
    logits = [unit_rows(weight) @ vector for vector in vectors]
    plan = [(row / temperature).exp() for row in logits]
    for _ in range(n_iterations):
        totals = sum(plan)
        plan = [row / totals for row in plan]
        plan = [row / row.sum() for row in plan]
    ratio = logits[0] / temperature - plan[0].log()
    return (ratio - ratio.mean()) * temperature


def mean_entropy(vectors: list[Tensor], weight: Tensor, center: Tensor, temperature: float) -> Tensor:
    """Mean of -sum q log q over the vectors' target distributions."""
    found = [target_distribution(vector, weight, center, temperature) for vector in vectors]
    return torch.stack([-(q * q.log()).sum() for q in found]).mean()


def koleo(views: Tensor) -> Tensor:
    """-mean log distance of each region to the nearest other one in the same view, directions of (V, B, d)."""
    total = views.sum() * 0
    for view in views:
        view = [vector / vector.square().sum().sqrt() for vector in view]
        for b, vector in enumerate(view):
            others = [other for i, other in enumerate(view) if i != b]
            nearest = max(others, key=lambda other: float((vector @ other).detach()))
            total = total - ((vector - nearest + 1e-8).square().sum().sqrt() + 1e-8).log()
    return total / (views.shape[0] * views.shape[1])


def masked_token_loss(
    views: list[tuple[Tensor, Tensor]],
    student_weight: Tensor,
    teacher_weight: Tensor,
    center: Tensor,
    student_temperature: float,
    teacher_temperature: float,
) -> Tensor:
    """Mean over views of the mean over a view's hidden tokens, student's and teacher's (n, d); no token gives 0."""
    total = student_weight.sum() * 0
    for student, teacher in views:
        for h, g in zip(student, teacher, strict=True):
            q = target_distribution(g, teacher_weight, center, teacher_temperature)
            total = total + cross_entropy(q, h, student_weight, student_temperature) / len(student)
    return total / len(views)


def kmeans(points: Tensor, n_clusters: int, uniforms: Tensor, n_iterations: int) -> tuple[Tensor, Tensor, float]:
    """One run of Lloyd from k-means++ seeds drawn with ``uniforms``: centroids, assignment, inertia."""
    weights = [1.0] * len(points)
    seeds: list[int] = []
    for k in range(n_clusters):
        threshold, running, chosen = float(uniforms[k]) * sum(weights), 0.0, -1
        for i, share in enumerate(weights):
            running += share
            if chosen < 0 and running > threshold:
                chosen = i
        seeds.append(chosen)
        weights = [min(float((point - points[s]).square().sum()) for s in seeds) for point in points]
    centroids = [points[s] for s in seeds]
    for _ in range(n_iterations):
        nearest = nearest_centroid(points, centroids)
        for k in range(n_clusters):
            members = [points[i] for i in range(len(points)) if nearest[i] == k]
            centroids[k] = torch.stack(members).mean(0)
    nearest = nearest_centroid(points, centroids)
    inertia = sum(float((points[i] - centroids[k]).square().sum()) for i, k in enumerate(nearest))
    return torch.stack(centroids), torch.tensor(nearest), inertia


def nearest_centroid(points: Tensor, centroids: list[Tensor]) -> list[int]:
    """Index of the closest centroid (L2) of each point."""
    distances = [[float((point - centroid).square().sum()) for centroid in centroids] for point in points]
    return [row.index(min(row)) for row in distances]


def match(a: Tensor, a_valid: Tensor, b: Tensor, b_valid: Tensor) -> tuple[float, list[int]]:
    """Mean cosine under the best of all injections of the smaller set into the larger; partner of each member of a."""
    left, right = a_valid.nonzero()[:, 0].tolist(), b_valid.nonzero()[:, 0].tolist()
    best, partner = -math.inf, [-1] * len(a)
    n_matched = min(len(left), len(right))
    if n_matched == 0:
        return best, partner
    for some_left in itertools.permutations(left, n_matched):
        for some_right in itertools.combinations(right, n_matched):
            pairs = list(zip(some_left, some_right, strict=True))
            similarity = sum(float(a[i] @ b[j]) for i, j in pairs) / n_matched
            if similarity > best + 1e-12:
                best, partner = similarity, [dict(pairs).get(i, -1) for i in range(len(a))]
    return best, partner


def nearest_slides(prototypes: Tensor, valid: Tensor, n_neighbors: int) -> list[list[tuple[float, int, list[int]]]]:
    """(similarity, slide, partners) of the most similar other slides of each slide, best first."""
    lists = []
    for i in range(len(prototypes)):
        found = []
        for j in range(len(prototypes)):
            if i != j and valid[i].any() and valid[j].any():
                similarity, partner = match(prototypes[i], valid[i], prototypes[j], valid[j])
                found.append((similarity, j, partner))
        lists.append(sorted(found, key=lambda entry: (-entry[0], entry[1]))[:n_neighbors])
    return lists


def warmup_cosine(step: int, total: int, start: float, end: float, warmup: int, warmup_start: float) -> float:
    """The table of all values, then the entry."""
    ramp = [warmup_start + (start - warmup_start) * i / warmup for i in range(warmup)]
    n_rest = max(total - warmup, 0)
    wave = [end + (start - end) / 2 * (1 + math.cos(math.pi * i / n_rest)) for i in range(n_rest)]
    return (ramp + wave + [end] * (step + 1))[step]


def splitmix_uniform(seed: int, epoch: int, region: int, stream: int, position: int) -> float:
    """One number of the keyed generator, in Python integers."""
    word, golden = (1 << 64) - 1, 0x9E3779B97F4A7C15

    def mix(z: int) -> int:
        z &= word
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & word
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB & word
        return z ^ (z >> 31)

    key = 0
    for part in (seed, epoch, stream):
        key = mix((key + golden) & word ^ mix(part + golden))
    state = mix(region * golden & word ^ key)
    return (mix(state + (position + 1) * golden) >> 40) / (1 << 24)
