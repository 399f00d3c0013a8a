"""Training once more, slowly: what happens in which order, one view and one tensor at a time.

Taken from the project are random numbers (by ``reference.splitmix_uniform``, from the keys that the project says) and
the crops; which of these the teacher sees is decided here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import reference
import torch
from reference_network import Weights, bottlenecks, drop_rates
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

SEEDING_STREAM = 101  # of K-means
DEPTH_STREAM = 1 << 20  # of stochastic depth, and one more for each view


@dataclass(frozen=True)
class Recipe:
    """What a run may choose. Warm-ups and lengths are in epochs."""

    steps_per_epoch: int = 2
    max_epochs: int = 5
    n_heads: int = 2
    global_size: int = 6
    drop_path: float = 0.3
    seed: int = 5
    lr: float = 4e-3
    min_lr: float = 1e-4
    lr_warmup: int = 2
    weight_decay: float = 0.4
    weight_decay_end: float = 4.0
    clip: float = 0.5
    frozen: int = 1
    momentum: float = 0.6
    student_temperature: float = 0.1
    temperature: float = 0.07
    temperature_warmup: int = 3
    temperature_start: float = 0.04
    center_momentum: float = 0.8
    intra_weight: float = 0.7
    inter_weight: float = 1.3
    n_prototypes: int = 4
    n_neighbors: int = 2
    min_regions: int = 3
    prototype_warmup: int = 2
    n_restarts: int = 3
    n_iterations: int = 2
    kmeans_seed: int = 3


@dataclass
class SlowBank:
    """Prototypes of one clustering; a slide's are numbered by the first region that belongs to each.

    Attributes:
        prototypes: of each slide, (K_i, d); K_i may be 0.
        assignment: of each region; -1 for none.
        neighbors: of each slide, best first: similarity, slide, and the partner of each prototype (-1: none).
    """

    prototypes: list[Tensor]
    assignment: list[int]
    neighbors: list[list[tuple[float, int, list[int]]]] = field(default_factory=list)


def clustered(features: Tensor, slides: list[int], recipe: Recipe) -> SlowBank:
    """Prototypes of each slide with at least ``min_regions`` regions, by the best of several K-means."""
    bank = SlowBank([], [-1] * len(slides))
    for slide in range(max(slides) + 1):
        regions = [i for i, own in enumerate(slides) if own == slide]
        if len(regions) < recipe.min_regions:
            bank.prototypes.append(features[:0])
            continue
        n_clusters = min(recipe.n_prototypes, n_distinct(features[regions]))
        runs = []
        for restart in range(recipe.n_restarts):
            places = [k * recipe.n_restarts + restart for k in range(n_clusters)]
            key = (recipe.kmeans_seed, 0, slide, SEEDING_STREAM)
            uniforms = torch.tensor([reference.splitmix_uniform(*key, place) for place in places])
            runs.append(reference.kmeans(features[regions], n_clusters, uniforms, recipe.n_iterations))
        centroids, nearest, _ = min(runs, key=lambda run: run[2])
        order = list(dict.fromkeys(nearest.tolist()))
        bank.prototypes.append(torch.stack([centroids[k] / centroids[k].norm() for k in order]))
        for i, k in zip(regions, nearest.tolist(), strict=True):
            bank.assignment[i] = order.index(k)
    return bank


def n_distinct(points: Tensor) -> int:
    """How many points are not equal to one before, up to rounding."""
    return sum(all(float((point - other).norm()) > 1e-9 for other in points[:i]) for i, point in enumerate(points))


def nearest_slides(prototypes: list[Tensor], n_neighbors: int) -> list[list[tuple[float, int, list[int]]]]:
    """Each slide is compared with every other that has prototypes."""
    padded = pad_sequence(prototypes, batch_first=True)
    valid = torch.arange(padded.shape[1]) < torch.tensor([[len(own)] for own in prototypes])
    lists = reference.nearest_slides(padded, valid, n_neighbors)
    sizes = map(len, prototypes)
    return [[(*found, partner[:n]) for *found, partner in row] for n, row in zip(sizes, lists, strict=True)]


def is_decayed(name: str) -> bool:
    """Weight decay spares biases and norms; CLS and positions are decayed."""
    is_norm = any(part.startswith("norm") for part in name.split("."))
    return not is_norm and not name.endswith("bias")


class SlowTraining:
    """Student, teacher, centers, optimizer and prototypes, moved by one step at a time.

    Args:
        weights: the first student's, by name; ``last_layer.weight_g`` is a gain that stays 1.
        tokens: all token grids, (N, H, W, D), float64.
        slides: slide of each region.
        recipe: the choices.
    """

    def __init__(self, weights: Weights, tokens: Tensor, slides: list[int], recipe: Recipe) -> None:
        self.recipe, self.tokens, self.slides = recipe, tokens, slides
        self.student = {name: value.clone() for name, value in weights.items()}
        self.teacher = {name: value.clone() for name, value in weights.items()}
        self.trained = [name for name in weights if not name.endswith("weight_g")]
        self.center = self.prototype_center = weights["last_layer.weight_v"].new_zeros(
            len(weights["last_layer.weight_v"])
        )
        self.moments = {name: (0, weights[name] * 0, weights[name] * 0) for name in self.trained}
        self.bank: SlowBank | None = None
        self.iteration = 0
        self.schedules: dict[str, float] = {}

    def step(self, region_ids: list[int], views: list[Tensor]) -> dict[str, dict[str, Tensor]]:
        """One step; returns loss terms and gradients (``None`` where frozen) before and after clipping.

        Args:
            region_ids: of the batch.
            views: groups (v, B, D, s, s), global crops first.
        """
        finished_epochs, place = divmod(self.iteration, self.recipe.steps_per_epoch)
        if place == 0 and finished_epochs >= self.recipe.prototype_warmup:
            self.cluster()
        self.schedules = self.scheduled(self.iteration)
        teacher = torch.stack([bottlenecks(self.teacher, view, self.recipe.n_heads) for view in views[0]])
        leaves = {name: value.clone().requires_grad_(name in self.trained) for name, value in self.student.items()}
        student = self.student_bottlenecks(leaves, region_ids, views, finished_epochs + 1)
        targets = [self.targets(region) for region in region_ids]
        terms = self.losses(student, leaves["last_layer.weight_v"], teacher, targets)
        raw = dict(
            zip(self.trained, torch.autograd.grad(terms["loss"], [leaves[n] for n in self.trained]), strict=True)
        )
        gradients: dict[str, Tensor | None] = {name: self.clipped(gradient) for name, gradient in raw.items()}
        if finished_epochs < self.recipe.frozen:
            gradients["last_layer.weight_v"] = None
        for name, gradient in gradients.items():
            if gradient is not None:
                self.student[name] = self.adamw(name, gradient)
        self.move_centers(teacher, targets)
        momentum = self.schedules["teacher_momentum"]
        for name, value in self.teacher.items():
            self.teacher[name] = momentum * value + (1 - momentum) * self.student[name]
        self.iteration += 1
        return {"terms": {name: term.detach() for name, term in terms.items()}, "raw": raw, "clipped": gradients}

    def cluster(self) -> None:
        """Anew, from the middle of every region as this moment's teacher sees it."""
        margins = [(side - self.recipe.global_size) // 2 for side in self.tokens.shape[1:3]]
        rows, columns = (slice(margin, margin + self.recipe.global_size) for margin in margins)
        features = bottlenecks(self.teacher, self.tokens[:, rows, columns].permute(0, 3, 1, 2), self.recipe.n_heads)
        self.bank = clustered(features, self.slides, self.recipe)
        self.bank.neighbors = nearest_slides(self.bank.prototypes, self.recipe.n_neighbors)

    def scheduled(self, step: int) -> dict[str, float]:
        """All that follows a cosine, at a step counted from 0."""
        r, total = self.recipe, self.recipe.max_epochs * self.recipe.steps_per_epoch
        lr_warmup, temperature_warmup = r.lr_warmup * r.steps_per_epoch, r.temperature_warmup * r.steps_per_epoch
        numbers = {
            "lr": (r.lr, r.min_lr, lr_warmup, 0.0),
            "weight_decay": (r.weight_decay, r.weight_decay_end, 0, 0.0),
            "teacher_momentum": (r.momentum, 1.0, 0, 0.0),
            "teacher_temperature": (r.temperature, r.temperature, temperature_warmup, r.temperature_start),
        }
        return {name: reference.warmup_cosine(step, total, *choice) for name, choice in numbers.items()}

    def student_bottlenecks(self, weights: Weights, region_ids: list[int], views: list[Tensor], epoch: int) -> Tensor:
        """All views (S, B, d), each with stochastic depth of its own; the teacher has none."""
        rates = drop_rates(self.recipe.drop_path, sum(name.endswith("mlp.fc1.bias") for name in weights))
        found = []
        for v, view in enumerate(grids for group in views for grids in group):
            branches = torch.ones(len(region_ids), 2 * len(rates), dtype=view.dtype)
            for b, region in enumerate(region_ids):
                for place in range(2 * len(rates)):
                    key, rate = (self.recipe.seed, epoch, region, DEPTH_STREAM + v), rates[place // 2]
                    is_dropped = reference.splitmix_uniform(*key, place) < rate
                    branches[b, place] = 0.0 if is_dropped else 1 / (1 - rate)
            found.append(bottlenecks(weights, view, self.recipe.n_heads, branches))
        return torch.stack(found)

    def targets(self, region: int) -> list[Tensor | None]:
        """The region's own prototype, then the one matched with it in each neighbor; None where there is none."""
        n_targets = 1 + self.recipe.n_neighbors
        if self.bank is None or self.bank.assignment[region] < 0:
            return [None] * n_targets
        slide, own = self.slides[region], self.bank.assignment[region]
        found: list[Tensor | None] = [self.bank.prototypes[slide][own]]
        for _, neighbor, partner in self.bank.neighbors[slide]:
            found.append(self.bank.prototypes[neighbor][partner[own]] if partner[own] >= 0 else None)
        return found + [None] * (n_targets - len(found))

    def losses(
        self, student: Tensor, weight: Tensor, teacher: Tensor, targets: list[list[Tensor | None]]
    ) -> dict[str, Tensor]:
        """The three terms and their sum."""
        fixed = self.teacher["last_layer.weight_v"]
        temperatures = (self.recipe.student_temperature, self.schedules["teacher_temperature"])
        own = reference.dino_loss(student, weight, teacher, fixed, self.center, *temperatures)
        rows = [[target[r] for target in targets] for r in range(1 + self.recipe.n_neighbors)]
        nothing = torch.zeros_like(teacher[0, 0])
        vectors = torch.stack([torch.stack([nothing if v is None else v for v in row]) for row in rows])
        valid = torch.tensor([[v is not None for v in row] for row in rows])
        intra, inter = (
            reference.prototype_loss(
                student, weight, vectors[part], valid[part], fixed, self.prototype_center, *temperatures
            )
            for part in (slice(0, 1), slice(1, None))
        )
        total = own + self.recipe.intra_weight * intra + self.recipe.inter_weight * inter
        return {"self": own, "intra": intra, "inter": inter, "loss": total}

    def clipped(self, gradient: Tensor) -> Tensor:
        """A tensor's gradient at a norm of at most ``clip``; DINO adds 1e-6 to the norm."""
        norm = float(gradient.square().sum().sqrt())
        return gradient * min(1.0, self.recipe.clip / (norm + 1e-6))

    def adamw(self, name: str, gradient: Tensor) -> Tensor:
        """Loshchilov and Hutter, algorithm 2; a parameter's steps are counted from the first with a gradient."""
        lr, decay = self.schedules["lr"], self.schedules["weight_decay"] if is_decayed(name) else 0.0
        t, first, second = self.moments[name]
        t, first, second = t + 1, 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient * gradient
        self.moments[name] = t, first, second
        step = (first / (1 - 0.9**t)) / ((second / (1 - 0.999**t)).sqrt() + 1e-8)
        return self.student[name] - lr * decay * self.student[name] - lr * step

    def move_centers(self, teacher: Tensor, targets: list[list[Tensor | None]]) -> None:
        """After the step, by the teacher that made the targets; the prototypes' center by all of the batch."""
        weight, momentum = self.teacher["last_layer.weight_v"], self.recipe.center_momentum
        self.center = reference.updated_center(self.center, list(teacher.flatten(0, 1)), weight, momentum)
        used = [vector for row in targets for vector in row if vector is not None]
        self.prototype_center = reference.updated_center(self.prototype_center, used, weight, momentum)
