"""Engines: what one iteration does."""

from .embedding_evaluator import EmbeddingEvaluator
from .optimizer import make_optimizer
from .region_features import RegionFeatures
from .slpd_trainer import SlpdTrainer

__all__ = ["EmbeddingEvaluator", "RegionFeatures", "SlpdTrainer", "make_optimizer"]
