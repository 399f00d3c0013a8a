"""Objectives: what the student is asked to match."""

from .center import Center
from .dino import DINOLoss
from .prototype import PrototypeLoss
from .reduction import sum_over_ranks
from .slpd import SLPDLoss

__all__ = ["Center", "DINOLoss", "PrototypeLoss", "SLPDLoss", "sum_over_ranks"]
