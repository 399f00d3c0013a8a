"""How good a representation is: features, protocols, metrics, the report."""

from .evaluation_statistics import compare_methods
from .features.embedding_evaluator import EmbeddingEvaluator
from .features.region_encoders import RegionEncoders
from .features.slide_features import SlideFeatures
from .features.slide_vectors import read_slide_vectors
from .features.stored_features import StoredFeatures, evaluation_dataset, evaluation_features
from .findings import Comparison, Method
from .head_refit import HeadRefit
from .metrics.identity_probe import IdentityProbe
from .metrics.intervals import Estimate, Metrics, bootstrap
from .metrics.knn import knn_predict
from .metrics.slide_knn import SlideKNN
from .online import labels_of, online_evaluator
from .patient_rows import evaluation_rows, evaluation_splits
from .pooling.cohort_prototypes import CohortPrototypes
from .pooling.composition import Composition
from .pooling.mixture import Mixture
from .pooling.transport import Transport
from .protocols.cox import CoxRegression
from .protocols.linear import LinearProbe
from .protocols.mil import AttentionMIL
from .protocols.mil_survival import SurvivalMIL
from .protocols.mlp import MLPProbe
from .protocols.neighbors import NearestNeighbors
from .report.evaluation_report import EvaluationReport
from .report.results_files import ResultsFiles
from .slide_evaluation import SlideEvaluation

__all__ = [
    "AttentionMIL",
    "CohortPrototypes",
    "Comparison",
    "Composition",
    "CoxRegression",
    "EmbeddingEvaluator",
    "Estimate",
    "EvaluationReport",
    "HeadRefit",
    "IdentityProbe",
    "LinearProbe",
    "MLPProbe",
    "Method",
    "Metrics",
    "Mixture",
    "NearestNeighbors",
    "RegionEncoders",
    "ResultsFiles",
    "SlideEvaluation",
    "SlideFeatures",
    "SlideKNN",
    "StoredFeatures",
    "SurvivalMIL",
    "Transport",
    "bootstrap",
    "compare_methods",
    "evaluation_dataset",
    "evaluation_features",
    "evaluation_rows",
    "evaluation_splits",
    "knn_predict",
    "labels_of",
    "online_evaluator",
    "read_slide_vectors",
]
