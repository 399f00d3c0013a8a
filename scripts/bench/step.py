"""A whole training step: crops, teacher, student, loss, backward, clipping, optimizer, centers, EMA."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from bundle.networks import Distiller, compile_backbone
from bundle.prototypes import PrototypeBank, PrototypeTargets
from bundle.training import (
    EpochRecordHandler,
    GradientClipHandler,
    RandTokenCropsd,
    SLPDLoss,
    SlpdTrainer,
    TeacherUpdateHandler,
    make_optimizer,
)

from . import reference_way
from .loss import in_bf16
from .measure import Case, Variant
from .network import TOKEN_DIM, prototypes, student_and_teacher, tokens


class _FixedPrototypes(PrototypeBank):
    """Stands where a prototype bank stands."""

    def __init__(self, targets: PrototypeTargets) -> None:
        super().__init__(n_prototypes=1)
        self._targets = targets

    @property
    def is_fitted(self) -> bool:
        return True

    def targets(self, region_ids: torch.Tensor, device: torch.device | str) -> PrototypeTargets:
        return self._targets


def our_step(
    n_regions: int,
    device: str,
    amp: bool,
    n_steps: int = 1,
    prepare: Callable[[Distiller], Any] | None = None,
    out_dim: int = 65536,
    token_dim: int = TOKEN_DIM,
    dim: int = 192,
    missing: float = 0.0,
    cuda_graph: bool = False,
    depth: int = 6,
) -> Callable[[], Any]:
    """Iterations of the real engine with the handlers that work in every step; a share of tokens may be missing.

    ``prepare`` is called with student and teacher, and may compile them.
    """
    masks = missing > 0
    student, teacher = student_and_teacher(device, out_dim, token_dim, dim, masks, depth)
    if prepare is not None:
        prepare(student)
        prepare(teacher)
    batch = {"features": tokens(n_regions, device, token_dim), "region_id": torch.arange(n_regions)}
    if masks:
        batch["present"] = torch.rand(n_regions, 16, 16, generator=torch.Generator().manual_seed(2)) >= missing
    trainer = SlpdTrainer(
        device=device,
        max_epochs=1,
        train_data_loader=[batch] * n_steps,  # type: ignore[arg-type]
        network=student,
        teacher=teacher,
        optimizer=make_optimizer(student),
        loss_function=SLPDLoss(out_dim, skip_same_view_prototypes=True),
        view_maker=RandTokenCropsd(mask_missing=masks),
        prototypes=_FixedPrototypes(prototypes(n_regions, device)),
        amp=amp,
        cuda_graph=cuda_graph,
        train_handlers=[GradientClipHandler(student), TeacherUpdateHandler(student, teacher), EpochRecordHandler()],
    )
    trainer.logger.disabled = True
    trainer.state.teacher_temperature, trainer.state.teacher_momentum = 0.04, 0.996
    return trainer.run


def reference_step(
    n_regions: int, device: str, uses_bf16: bool, n_steps: int = 1, out_dim: int = 65536, depth: int = 6
) -> Callable[[], Any]:
    """The same by :func:`scripts.bench.reference_way.train_step`, with crops made one sample after the other."""
    student, teacher = student_and_teacher(device, out_dim, depth=depth)
    groups = make_optimizer(student).param_groups
    optimizer = torch.optim.AdamW([{k: g[k] for k in ("params", "weight_decay")} for g in groups], foreach=False)
    data, targets = tokens(n_regions, device), prototypes(n_regions, device)
    centers = torch.zeros(out_dim, device=device), torch.zeros(out_dim, device=device)

    def run() -> None:
        for _ in range(n_steps):
            views = reference_way.crops_by_sample(data)
            reference_way.train_step(student, teacher, optimizer, views, targets, centers, uses_bf16)

    return run


def _shapes(n_regions: int) -> list[tuple[int, int, int, int]]:
    """Rows, inner width, outputs and repetitions of the largest products of a step, forward and backward."""
    shapes = [(2 * 197 + 8 * 37, 192, 192 * 12, 3 * 6), (2 * 197, 192, 192 * 12, 6)]  # blocks: student, teacher
    shapes += [(10, 2048, 2048 + 448, 3), (2, 2048, 2048 + 448, 1)]  # head
    shapes += [(10, 256, 65536, 3), (4, 256, 65536, 1)]  # last layer; two prototypes are targets as well
    return [(rows * n_regions, a, b, n) for rows, a, b, n in shapes]


def products(n_regions: int, device: str, n_steps: int = 1) -> Callable[[], Any]:
    """The products of :func:`_shapes`, of which none can be left out."""
    shapes = _shapes(n_regions)
    work = [(torch.randn(r, a, device=device), torch.randn(a, b, device=device), n) for r, a, b, n in shapes]
    rows = 4096 if device == "cpu" else 1 << 15

    def run() -> None:
        for left, right, times in work * n_steps:
            for part in left.split(rows):
                for _ in range(times):
                    part @ right

    return run


def at_the_dense_rate(n_regions: int, n_steps: int) -> Callable[[], Any]:
    """As many operations as those products have, in products of 8,192 x 8,192 in bfloat16: what a GPU does at best."""
    operations = sum(2 * rows * a * b * n for rows, a, b, n in _shapes(n_regions)) * n_steps
    left, right = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    times, rest = divmod(operations, 2 * 8192**3)

    def run() -> None:
        for _ in range(times):
            left @ right
        left[: round(rest / (2 * 8192**2))] @ right

    return run


def cases(device: str, threads: int) -> list[Case]:
    """One batch size; on a GPU several steps in a row, as in training."""
    n_regions, n_steps = (16, 1) if device == "cpu" else (128, 5)
    each = n_regions, device
    variants = [
        Variant("reference, fp32", "reference", reference_step(*each, False, n_steps)),
        Variant("reference, bf16", "peer", reference_step(*each, True, n_steps)),
        Variant("ours, fp32", "ours", our_step(*each, False, n_steps)),
        Variant("ours, bf16", "ours", our_step(*each, True, n_steps)),
        Variant("the products alone, fp32", "limit", products(*each, n_steps)),
        Variant("the products alone, bf16", "limit", in_bf16(products(*each, n_steps), device)),
    ]
    note = ""
    if device == "cuda":
        compiled = our_step(*each, True, n_steps, lambda module: compile_backbone(module.encoder, device))
        variants.insert(4, Variant("ours, bf16, compiled", "ours", compiled))
        variants.append(
            Variant("as many operations at the dense bf16 rate", "limit", at_the_dense_rate(n_regions, n_steps))
        )
        operations = sum(2 * rows * a * b * n for rows, a, b, n in _shapes(n_regions))
        note = f"The products of a step are {operations / 1e12:.2f} TFLOP."
    return [
        Case(
            "step",
            f"training step, B = {n_regions}",
            variants,
            work=n_regions * n_steps,
            unit="regions",
            goal={"ours, fp32": 1.5, "ours, bf16": 2.7},
            note=note,
        )
    ]
