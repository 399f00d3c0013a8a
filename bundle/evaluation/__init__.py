"""How good a representation is: features, protocols, metrics, the report."""

from .features.embedding_evaluator import EmbeddingEvaluator
from .features.region_encoders import RegionEncoders
from .features.slide_features import SlideFeatures
from .features.stored_features import EmbeddingFiles, StoredFeatures, evaluation_dataset, evaluation_features
from .findings import Arm, Comparison, Evaluation, Interval, Predictions, Result
from .metrics.classification import ClassificationFigures
from .metrics.curves import discordant_share, holm, log_rank_p, mean_roc, reliability, survival_curve, upper_half
from .metrics.identity_probe import IdentityProbe
from .metrics.intervals import Estimate, Figures, bootstrap, compare_bootstrap, over_folds
from .metrics.knn import knn_predict
from .metrics.slide_knn import SlideKNN
from .metrics.survival import SurvivalFigures
from .patient_rows import EvaluationRows, evaluation_rows, evaluation_splits
from .protocols.cox import CoxRegression
from .protocols.inputs import Bags, PrototypeSets, Vectors
from .protocols.linear import LinearProbe
from .protocols.mil import AttentionMIL, GatedAttention
from .protocols.neighbors import NearestNeighbors
from .report.evaluation_report import EvaluationReport
from .report.results_files import ResultsFiles
from .slide_evaluation import SlideEvaluation

__all__ = [
    "Arm",
    "AttentionMIL",
    "Bags",
    "ClassificationFigures",
    "Comparison",
    "CoxRegression",
    "EmbeddingEvaluator",
    "EmbeddingFiles",
    "Estimate",
    "Evaluation",
    "EvaluationReport",
    "EvaluationRows",
    "Figures",
    "GatedAttention",
    "IdentityProbe",
    "Interval",
    "LinearProbe",
    "NearestNeighbors",
    "Predictions",
    "PrototypeSets",
    "RegionEncoders",
    "Result",
    "ResultsFiles",
    "SlideEvaluation",
    "SlideFeatures",
    "SlideKNN",
    "StoredFeatures",
    "SurvivalFigures",
    "Vectors",
    "bootstrap",
    "compare_bootstrap",
    "discordant_share",
    "evaluation_dataset",
    "evaluation_features",
    "evaluation_rows",
    "evaluation_splits",
    "holm",
    "knn_predict",
    "log_rank_p",
    "mean_roc",
    "over_folds",
    "reliability",
    "survival_curve",
    "upper_half",
]
