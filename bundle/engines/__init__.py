"""Engines: what one iteration does."""

from .embedding_evaluator import EmbeddingEvaluator
from .evaluation_rows import EvaluationRows, evaluation_rows, evaluation_splits
from .optimizer import make_optimizer
from .region_encoders import RegionEncoders
from .region_features import RegionFeatures
from .slide_evaluation import SlideEvaluation
from .slide_features import SlideFeatures
from .slpd_trainer import SlpdTrainer
from .tokenizer import TokenizingEvaluator, TokenizingProgress
from .tokenizer_jobs import Piece, SlideJob
from .tokenizer_stream import PatchStream

__all__ = [
    "EmbeddingEvaluator",
    "EvaluationRows",
    "PatchStream",
    "Piece",
    "RegionEncoders",
    "RegionFeatures",
    "SlideEvaluation",
    "SlideFeatures",
    "SlideJob",
    "SlpdTrainer",
    "TokenizingEvaluator",
    "TokenizingProgress",
    "evaluation_rows",
    "evaluation_splits",
    "make_optimizer",
]
