"""Protocols: from features of patients to predictions, each quick enough to be run a hundred times."""

from .cox import CoxRegression
from .inputs import Bags, Inputs, PrototypeSets, Vectors
from .knn import NearestNeighbors
from .linear import LinearProbe
from .mil import AttentionMIL, GatedAttention

__all__ = [
    "AttentionMIL",
    "Bags",
    "CoxRegression",
    "GatedAttention",
    "Inputs",
    "LinearProbe",
    "NearestNeighbors",
    "PrototypeSets",
    "Vectors",
]
