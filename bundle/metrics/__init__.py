"""Metrics over slides, and how sure they are."""

from .classification import ClassificationFigures, classification_metrics
from .comparisons import compare_bootstrap, compare_folds
from .identity_probe import IdentityProbe
from .intervals import Estimate, Figures, bootstrap, over_folds
from .slide_knn import SlideKNN
from .survival import SurvivalFigures, c_index, survival_metrics

__all__ = [
    "ClassificationFigures",
    "Estimate",
    "Figures",
    "IdentityProbe",
    "SlideKNN",
    "SurvivalFigures",
    "bootstrap",
    "c_index",
    "classification_metrics",
    "compare_bootstrap",
    "compare_folds",
    "over_folds",
    "survival_metrics",
]
