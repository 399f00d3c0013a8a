"""Slides or features in, files out: one pipeline (source, batches, network, sink), and importing."""

from .checking.check_page import CheckPage
from .checking.checker import SlideChecker
from .embedding_sink import EmbeddingSink
from .estimate.probes import probe_training
from .exporting.exporter import FeatureExporter
from .head_predictions import HeadPredictions
from .importing.importer import FeatureImporter
from .importing.on_first_use import slide_ids_of, token_files_of
from .inputs import InferenceInputs
from .pipeline import SlidePipeline
from .progress import TokenProgressHandler
from .recorder import SlideRecorder
from .sink import Sink
from .slide_source import PatchStream
from .source import Source
from .stated_patches import patch_stream
from .token_sink import TokenSink
from .token_source import RegionStream

__all__ = [
    "CheckPage",
    "EmbeddingSink",
    "FeatureExporter",
    "FeatureImporter",
    "HeadPredictions",
    "InferenceInputs",
    "PatchStream",
    "RegionStream",
    "Sink",
    "SlideChecker",
    "SlidePipeline",
    "SlideRecorder",
    "Source",
    "TokenProgressHandler",
    "TokenSink",
    "patch_stream",
    "probe_training",
    "slide_ids_of",
    "token_files_of",
]
