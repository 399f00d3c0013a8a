"""Engines: what one iteration does."""

from .embedding_evaluator import EmbeddingEvaluator
from .evaluation_rows import EvaluationRows, evaluation_rows, evaluation_splits
from .inference import InferenceEvaluator, InferenceProgress
from .inference_inputs import InferenceInputs
from .inference_jobs import InferenceJob
from .inference_record import SlideRecorder
from .inference_stream import RegionStream
from .inference_tokens import SlideTokens
from .optimizer import make_optimizer
from .process_group import leave_process_group
from .region_encoders import RegionEncoders
from .region_features import RegionFeatures
from .slide_evaluation import SlideEvaluation
from .slide_features import SlideFeatures
from .slpd_trainer import SlpdTrainer
from .stored_features import EmbeddingFiles, StoredFeatures, evaluation_dataset, evaluation_features
from .tokenizer import TokenizingEvaluator, TokenizingProgress
from .tokenizer_jobs import Piece, SlideJob
from .tokenizer_stream import PatchStream

__all__ = [
    "EmbeddingEvaluator",
    "EmbeddingFiles",
    "EvaluationRows",
    "InferenceEvaluator",
    "InferenceInputs",
    "InferenceJob",
    "InferenceProgress",
    "PatchStream",
    "Piece",
    "RegionEncoders",
    "RegionFeatures",
    "RegionStream",
    "SlideEvaluation",
    "SlideFeatures",
    "SlideJob",
    "SlideRecorder",
    "SlideTokens",
    "SlpdTrainer",
    "StoredFeatures",
    "TokenizingEvaluator",
    "TokenizingProgress",
    "evaluation_dataset",
    "evaluation_features",
    "evaluation_rows",
    "evaluation_splits",
    "leave_process_group",
    "make_optimizer",
]
