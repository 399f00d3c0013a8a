"""SLPD pre-training: the trainer, its optimizer, features and records."""

from .handlers.checkpoint import CheckpointHandler, ResumeHandler
from .handlers.divergence import DivergenceHandler
from .handlers.epoch_bar import EpochBar
from .handlers.epoch_record import EpochRecordHandler
from .handlers.export import ExportHandler
from .handlers.gradients import FreezeHandler, GradientClipHandler
from .handlers.groups import dino_schedules, dino_updates, run_handlers, watching_handlers
from .handlers.history import HistoryHandler
from .handlers.instance_watch import InstanceHandler
from .handlers.plan import PlanHandler
from .handlers.ramp import PrototypeRampHandler
from .handlers.recluster import CrossSlideHandler, ReclusterHandler
from .handlers.run_state import RunState
from .handlers.schedule import ScheduleHandler, warmup_cosine
from .handlers.stop import StopHandler
from .handlers.teacher import TeacherUpdateHandler
from .handlers.tensorboard import TensorBoardHandler
from .losses.assignment import assignment_losses
from .losses.center import Center
from .losses.dino import DINOLoss
from .losses.entropy import Distillation, distillation
from .losses.koleo import koleo
from .losses.masked_tokens import MaskedTokenLoss, MaskedTokens
from .losses.prototype import PrototypeLoss
from .losses.sinkhorn import Sinkhorn
from .losses.slpd import SLPDLoss
from .optimizer import make_optimizer
from .region_choice import trained_regions
from .region_features import RegionFeatures
from .run_notes import about_training, export_handler, run_identity, training_state
from .slpd_trainer import SlpdTrainer
from .transforms.image_crops import RandImageCropsd
from .transforms.token_blocks import RandTokenBlocksd
from .transforms.token_crops import CenterTokenCrop, FullestTokenCrop, RandTokenCropsd
from .transforms.token_fill import RandTokenFilld
from .transforms.token_image import TokenImaged
from .transforms.token_shift import RandTokenShiftd
from .transforms.token_views import token_views

__all__ = [
    "Center",
    "CenterTokenCrop",
    "CheckpointHandler",
    "CrossSlideHandler",
    "DINOLoss",
    "Distillation",
    "DivergenceHandler",
    "EpochBar",
    "EpochRecordHandler",
    "ExportHandler",
    "FreezeHandler",
    "FullestTokenCrop",
    "GradientClipHandler",
    "HistoryHandler",
    "InstanceHandler",
    "MaskedTokenLoss",
    "MaskedTokens",
    "PlanHandler",
    "PrototypeLoss",
    "PrototypeRampHandler",
    "RandImageCropsd",
    "RandTokenBlocksd",
    "RandTokenCropsd",
    "RandTokenFilld",
    "RandTokenShiftd",
    "ReclusterHandler",
    "RegionFeatures",
    "ResumeHandler",
    "RunState",
    "SLPDLoss",
    "ScheduleHandler",
    "Sinkhorn",
    "SlpdTrainer",
    "StopHandler",
    "TeacherUpdateHandler",
    "TensorBoardHandler",
    "TokenImaged",
    "about_training",
    "assignment_losses",
    "dino_schedules",
    "dino_updates",
    "distillation",
    "export_handler",
    "koleo",
    "make_optimizer",
    "run_handlers",
    "run_identity",
    "token_views",
    "trained_regions",
    "training_state",
    "warmup_cosine",
    "watching_handlers",
]
