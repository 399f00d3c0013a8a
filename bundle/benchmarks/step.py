"""A whole training step: crops, teacher, student, loss, backward, clipping, optimizer, centers, EMA."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ..engines import SlpdTrainer, make_optimizer
from ..functional import PrototypeTargets
from ..handlers import GradientClipHandler, TeacherUpdateHandler
from ..losses import SLPDLoss
from ..transforms import RandTokenCropsd
from . import reference_way
from .loss import in_bf16
from .measure import Case, Variant
from .network import prototypes, student_and_teacher, tokens


class _FixedPrototypes:
    """Stands where a prototype bank stands."""

    is_fitted = True

    def __init__(self, targets: PrototypeTargets) -> None:
        self._targets = targets

    def targets(self, region_ids: torch.Tensor, device: torch.device) -> PrototypeTargets:
        return self._targets


def our_step(n_regions: int, device: str, amp: bool) -> Callable[[], Any]:
    """One iteration of the real engine with the handlers that work in every step."""
    student, teacher = student_and_teacher(device)
    batch = {"features": tokens(n_regions, device), "region_id": torch.arange(n_regions)}
    trainer = SlpdTrainer(
        device=device,
        max_epochs=1,
        train_data_loader=[batch],  # type: ignore[arg-type]
        network=student,
        teacher=teacher,
        optimizer=make_optimizer(student),
        loss_function=SLPDLoss(65536, skip_same_view_prototypes=True),
        view_maker=RandTokenCropsd(),
        prototypes=_FixedPrototypes(prototypes(n_regions, device)),
        amp=amp,
        train_handlers=[GradientClipHandler(student), TeacherUpdateHandler(student, teacher)],
    )
    trainer.logger.disabled = True
    trainer.state.teacher_temperature, trainer.state.teacher_momentum = 0.04, 0.996
    return trainer.run


def reference_step(n_regions: int, device: str, uses_bf16: bool) -> Callable[[], Any]:
    """The same by :func:`bundle.benchmarks.reference_way.train_step`, with crops made one sample after the other."""
    student, teacher = student_and_teacher(device)
    groups = make_optimizer(student).param_groups
    optimizer = torch.optim.AdamW([{k: g[k] for k in ("params", "weight_decay")} for g in groups], foreach=False)
    data, targets = tokens(n_regions, device), prototypes(n_regions, device)
    centers = torch.zeros(65536, device=device), torch.zeros(65536, device=device)

    def run() -> None:
        views = reference_way.crops_by_sample(data)
        reference_way.train_step(student, teacher, optimizer, views, targets, centers, uses_bf16)

    return run


def products(n_regions: int, device: str) -> Callable[[], Any]:
    """The largest matrix products of a step, forward and backward, of which none can be left out."""
    shapes = [(2 * 197 + 8 * 37, 192, 192 * 12, 3 * 6), (2 * 197, 192, 192 * 12, 6)]  # blocks: student, teacher
    shapes += [(10, 2048, 2048 + 448, 3), (2, 2048, 2048 + 448, 1)]  # head
    shapes += [(10, 256, 65536, 3), (4, 256, 65536, 1)]  # last layer; two prototypes are targets as well
    work = [
        (torch.randn(r * n_regions, a, device=device), torch.randn(a, b, device=device), n) for r, a, b, n in shapes
    ]

    def run() -> None:
        for left, right, times in work:
            for part in left.split(4096):
                for _ in range(times):
                    part @ right

    return run


def cases(device: str, threads: int) -> list[Case]:
    """One batch size."""
    n_regions = 16 if device == "cpu" else 128
    return [
        Case(
            "step",
            f"training step, B = {n_regions}",
            [
                Variant("reference, fp32", "reference", reference_step(n_regions, device, False)),
                Variant("reference, bf16", "peer", reference_step(n_regions, device, True)),
                Variant("ours, fp32", "ours", our_step(n_regions, device, False)),
                Variant("ours, bf16", "ours", our_step(n_regions, device, True)),
                Variant("the products alone, fp32", "limit", products(n_regions, device)),
                Variant("the products alone, bf16", "limit", in_bf16(products(n_regions, device), device)),
            ],
            work=n_regions,
            unit="regions",
            goal={"ours, fp32": 1.5, "ours, bf16": 2.7},
        )
    ]
