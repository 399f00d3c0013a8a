"""What a run is known by, and what is noted beside the weights that it gives."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine
from torch import nn

from ..networks import Distiller, Encoder
from ..prototypes import PrototypeBank
from ..storage import TokenDataset
from .handlers.export import ExportHandler
from .handlers.groups import with_metrics
from .handlers.run_state import RunState


def training_state(
    output_dir: str | Path,
    student: Distiller,
    teacher: Distiller,
    optimizer: torch.optim.Optimizer,
    loss_function: nn.Module,
    identity: Mapping[str, Any],
    prototypes: PrototypeBank | None = None,
    evaluator: Engine | None = None,
) -> RunState:
    """What a training's checkpoints hold: all that learns, and what must be equal for it to go on.

    Args:
        output_dir: where they go.
        student, teacher, optimizer, loss_function: with their state.
        identity: see :func:`run_identity`.
        prototypes: the bank; None: plain DINO.
        evaluator: its key metric tells the best epoch; None, or one without: the last is.
    """
    parts = {"student": student, "teacher": teacher, "optimizer": optimizer, "loss": loss_function}
    banks = {} if prototypes is None else {"prototypes": prototypes}
    return RunState(output_dir, parts | banks, identity, with_metrics(evaluator))


def run_identity(
    dataset: TokenDataset,
    student: Distiller,
    loss_function: nn.Module,
    batch_size: int,
    max_epochs: int,
    n_heads: int,
    out_dim: int,
    n_prototypes: int,
    seed: int,
    slides_per_batch: int = 0,
    fill_missing: str = "none",
    min_region_tissue: float = 0.0,
) -> dict[str, Any]:
    """Numbers and words that must be equal for a run to be resumed.

    An option that is off is False, as in the notes of runs that did not know it yet.

    Args:
        dataset: the tokens.
        student: what is trained, as it was built.
        loss_function: :class:`~bundle.training.SLPDLoss`.
        batch_size, max_epochs, n_heads, out_dim, n_prototypes, seed: see ``configs/train.yaml``.
        slides_per_batch, fill_missing, min_region_tissue: the same.
    """
    backbone: Any = student.encoder.backbone
    return {
        "regions": len(dataset),
        "slides": len(dataset.slide_ids),
        "which_regions": dataset.fingerprint,
        "tokens_of": dataset.encoder,
        "batch_size": batch_size,
        "slides_per_batch": slides_per_batch or False,
        "max_epochs": max_epochs,
        "n_heads": n_heads,
        "out_dim": out_dim,
        "n_prototypes": n_prototypes,
        "seed": seed,
        "mask_missing": student.encoder.mask_missing,
        "standardize_tokens": backbone.standard is not None,
        "fill_missing": fill_missing != "none",
        "min_region_tissue": float(min_region_tissue) or False,
        "n_registers": backbone.n_registers or False,
        "hidden_tokens": student.mask_token is not None,
        "assigned_prototypes": loss_function.assigns,
    }


def about_training(
    dataset: TokenDataset, student: Distiller, n_heads: int, center_tokens: str | None = None
) -> dict[str, Any]:
    """What whoever uses the weights has to know of the tokens that they were trained on.

    Args:
        dataset: the tokens.
        student: what was trained.
        n_heads: attention heads, which shapes do not tell.
        center_tokens: "slide" or None.
    """
    first = dataset.headers[0]
    return {
        "n_heads": n_heads,
        "patch_encoder": dataset.encoder,
        "mpp": first.mpp,
        "patch_size": first.attributes.get("patch_size_px"),
        "region_patches": dataset.region_patches,
        "encode_background": dataset.has_background,
        "mask_missing": student.encoder.mask_missing,
        "center_tokens": center_tokens,
    }


def export_handler(
    teacher_encoder: Encoder,
    model_path: str | Path | None,
    output_dir: str | Path,
    dataset: TokenDataset,
    student: Distiller,
    n_heads: int,
    center_tokens: str | None = None,
) -> ExportHandler:
    """Writes the teacher's encoder when the run is complete, with the slides it has seen and what it asks of tokens.

    Args:
        teacher_encoder: whose weights.
        model_path: where they go; None: nowhere.
        output_dir: of the run.
        dataset, student, n_heads, center_tokens: see :func:`about_training`.
    """
    about = about_training(dataset, student, n_heads, center_tokens)
    return ExportHandler(teacher_encoder, model_path, slides=dataset.slide_ids, about=about, output_dir=output_dir)
