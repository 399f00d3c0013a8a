"""Handlers: when things happen."""

from .checkpoint import CheckpointHandler, ResumeHandler
from .divergence import DivergenceHandler
from .epoch_record import EpochRecordHandler
from .export import ExportHandler
from .gradients import FreezeHandler, GradientClipHandler
from .history import HistoryHandler
from .recluster import CrossSlideHandler, ReclusterHandler
from .run_state import RunState
from .schedule import ScheduleHandler
from .teacher import TeacherUpdateHandler
from .tensorboard import TensorBoardHandler
from .token_progress import TokenProgressHandler

__all__ = [
    "CheckpointHandler",
    "CrossSlideHandler",
    "DivergenceHandler",
    "EpochRecordHandler",
    "ExportHandler",
    "FreezeHandler",
    "GradientClipHandler",
    "HistoryHandler",
    "ReclusterHandler",
    "ResumeHandler",
    "RunState",
    "ScheduleHandler",
    "TeacherUpdateHandler",
    "TensorBoardHandler",
    "TokenProgressHandler",
]
