"""Handlers that every training has, both stages alike, so that a config asks for them once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine

from ...networks import Distiller
from .checkpoint import CheckpointHandler, ResumeHandler
from .divergence import DivergenceHandler
from .epoch_bar import EpochBar
from .epoch_record import EpochRecordHandler
from .gradients import FreezeHandler, GradientClipHandler
from .history import HistoryHandler
from .run_state import RunState
from .schedule import ScheduleHandler
from .stop import StopHandler
from .teacher import TeacherUpdateHandler


def with_metrics(evaluator: Engine | None) -> Engine | None:
    """An evaluator that measures something, else None."""
    return None if evaluator is None or not evaluator.state.key_metric_name else evaluator


def run_handlers(
    run_state: RunState,
    evaluator: Engine | None = None,
    resume: bool = False,
    checkpoint_interval: int = 0,
    checkpoint_minutes: float = 30,
) -> list[Any]:
    """What a run needs to be stopped and to go on: resume, the epoch's record, checkpoints, signals.

    Args:
        run_state: what checkpoints hold, and where they go.
        evaluator: whose metrics are in the record; None, or one without a key metric: there are none.
        resume, checkpoint_interval, checkpoint_minutes: see ``configs/train.yaml``.
    """
    return [
        ResumeHandler(run_state, resume),
        EpochRecordHandler(with_metrics(evaluator)),
        CheckpointHandler(run_state, checkpoint_interval),
        StopHandler(run_state, checkpoint_minutes),
    ]


def watching_handlers(
    run_state: RunState,
    student: Distiller,
    out_dim: int,
    output_dir: str | Path,
    dataset: Any = None,
    nan_retries: int = 1,
) -> list[Any]:
    """What shows a run and ends one that is lost: the epoch's bar (rank 0), history, divergence.

    Args:
        run_state: of the run.
        student: its weights are looked at.
        out_dim: width of the last layer.
        output_dir: of ``history.csv`` and ``training.png``.
        dataset: names the regions of a batch; None: they are not named.
        nan_retries: see ``configs/train.yaml``.
    """
    shown = [] if idist.get_rank() > 0 else [EpochBar()]
    judge = DivergenceHandler(out_dim, student, dataset, run_state, nan_retries)
    return [*shown, HistoryHandler(output_dir), judge]


def dino_updates(
    student: Distiller, teacher: Distiller, clip_grad: float = 3.0, freeze_last_layer_epochs: int = 1
) -> list[Any]:
    """What DINO does around its step: a last layer that waits, clipped gradients, a teacher that follows.

    Args:
        student: the module itself, not its ``DistributedDataParallel`` wrapper.
        teacher: of the same architecture.
        clip_grad: largest norm of each tensor's gradient; 0: any.
        freeze_last_layer_epochs: first epochs in which the last layer stays as it is.
    """
    return [
        FreezeHandler(student.last_layer, freeze_last_layer_epochs),
        GradientClipHandler(student, clip_grad),
        TeacherUpdateHandler(student, teacher),
    ]


def dino_schedules(
    optimizer: torch.optim.Optimizer,
    batch_size: int,
    lr: float = 0.0005,
    min_lr: float = 1e-6,
    lr_warmup_epochs: float = 10,
    weight_decay: float = 0.04,
    weight_decay_end: float = 0.4,
    teacher_momentum: float = 0.996,
    teacher_temperature: float = 0.04,
    warmup_teacher_temperature: float = 0.04,
    teacher_temperature_warmup_epochs: float = 0,
) -> list[Any]:
    """DINO's four schedules: learning rate, weight decay, the teacher's momentum and its temperature.

    Args:
        optimizer: of the student.
        batch_size: regions (or patches) of the global batch, by which the learning rate is scaled.
        lr: at the end of its warm-up, per 256 of the batch.
        min_lr: where its cosine ends.
        lr_warmup_epochs: of its ramp from 0.
        weight_decay, weight_decay_end: ends of a cosine.
        teacher_momentum: where it starts; it ends at 1.
        teacher_temperature: after its ramp from ``warmup_teacher_temperature``.
        warmup_teacher_temperature: where it starts.
        teacher_temperature_warmup_epochs: of its ramp.

    Source: Caron et al., ICCV 2021, section 3.2 and their recipe.
    """
    wait = teacher_temperature_warmup_epochs
    return [
        ScheduleHandler("lr", lr * batch_size / 256, min_lr, lr_warmup_epochs, optimizer=optimizer),
        ScheduleHandler("weight_decay", weight_decay, weight_decay_end, optimizer=optimizer, decayed_only=True),
        ScheduleHandler("teacher_momentum", teacher_momentum, 1.0),
        ScheduleHandler(
            "teacher_temperature", teacher_temperature, teacher_temperature, wait, warmup_teacher_temperature
        ),
    ]
