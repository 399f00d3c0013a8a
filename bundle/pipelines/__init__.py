"""Slides in, files out: one pipeline (source, batches, network, sink), and what a run will take."""

from .embedding_sink import EmbeddingSink
from .estimate.budget import Budget, Count, Plan, Rates, budget, count_regions
from .estimate.page import as_json, as_text
from .estimate.preflight import Look, look_at_slides
from .estimate.probes import probe_encoding, probe_reading, probe_training
from .inputs import InferenceInputs
from .jobs import Piece, SlideJob
from .pipeline import NoSlideError, SlidePipeline, SlideProgress
from .progress import TokenProgressHandler
from .recorder import SlideRecorder
from .sink import Sink
from .slide_source import PatchStream
from .source import Source
from .token_sink import TokenSink
from .token_source import RegionStream

__all__ = [
    "Budget",
    "Count",
    "EmbeddingSink",
    "InferenceInputs",
    "Look",
    "NoSlideError",
    "PatchStream",
    "Piece",
    "Plan",
    "Rates",
    "RegionStream",
    "Sink",
    "SlideJob",
    "SlidePipeline",
    "SlideProgress",
    "SlideRecorder",
    "Source",
    "TokenProgressHandler",
    "TokenSink",
    "as_json",
    "as_text",
    "budget",
    "count_regions",
    "look_at_slides",
    "probe_encoding",
    "probe_reading",
    "probe_training",
]
