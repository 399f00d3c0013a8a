"""Figures of one test set, as numbers."""

import numpy as np

from bundle.evaluation.metrics.classification import ClassificationMetrics
from bundle.evaluation.metrics.survival import SurvivalMetrics


def classification_metrics(targets, scores, is_ordinal=False):
    """Name -> figure of classes [n] and probabilities [n, C]."""
    return {name: float(value[0]) for name, value in ClassificationMetrics(is_ordinal)(targets, scores).items()}


def survival_metrics(targets, scores):
    """Name -> figure of time and event [n, 2] and risks [n, 1]."""
    return {name: float(value[0]) for name, value in SurvivalMetrics()(targets, scores).items()}


def c_index(time, event, risk):
    """The concordance of risks [n]."""
    targets = np.stack([np.asarray(time, np.float64), np.asarray(event, np.float64)], axis=1)
    return survival_metrics(targets, risk)["c_index"]
