"""Engines: what one iteration does."""

from .embedding_evaluator import EmbeddingEvaluator
from .optimizer import make_optimizer
from .region_features import RegionFeatures
from .slpd_trainer import SlpdTrainer
from .tokenizer import TokenizingEvaluator, TokenizingProgress
from .tokenizer_jobs import Piece, SlideJob
from .tokenizer_stream import PatchStream

__all__ = [
    "EmbeddingEvaluator",
    "PatchStream",
    "Piece",
    "RegionFeatures",
    "SlideJob",
    "SlpdTrainer",
    "TokenizingEvaluator",
    "TokenizingProgress",
    "make_optimizer",
]
