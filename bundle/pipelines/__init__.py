"""Slides in, files out: tokenizing, inferring, and what a run will take."""

from .estimate.budget import Budget, Count, Plan, Rates, budget, count_regions
from .estimate.page import as_json, as_text
from .estimate.preflight import Look, look_at_slides
from .estimate.probes import probe_encoding, probe_reading, probe_training
from .inference import InferenceEvaluator, InferenceProgress
from .inference_inputs import InferenceInputs
from .inference_jobs import InferenceJob
from .inference_record import SlideRecorder
from .inference_stream import RegionStream
from .inference_tokens import SlideTokens
from .token_progress import TokenProgressHandler
from .tokenizer import TokenizingEvaluator, TokenizingProgress
from .tokenizer_jobs import Piece, SlideJob
from .tokenizer_stream import PatchStream

__all__ = [
    "Budget",
    "Count",
    "InferenceEvaluator",
    "InferenceInputs",
    "InferenceJob",
    "InferenceProgress",
    "Look",
    "PatchStream",
    "Piece",
    "Plan",
    "Rates",
    "RegionStream",
    "SlideJob",
    "SlideRecorder",
    "SlideTokens",
    "TokenProgressHandler",
    "TokenizingEvaluator",
    "TokenizingProgress",
    "as_json",
    "as_text",
    "budget",
    "count_regions",
    "look_at_slides",
    "probe_encoding",
    "probe_reading",
    "probe_training",
]
