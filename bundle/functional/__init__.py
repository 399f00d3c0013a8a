"""Arithmetic: tensors in, tensors out, no state, no files, no processes."""

from .entropy import Distillation, distillation
from .keyed_random import keyed_uniform
from .kmeans import Clusters, batched_kmeans
from .knn import knn_predict
from .matching import assign_cosines, best_assignment, matched_similarity
from .neighbors import Neighbors, nearest_slides
from .prototype_targets import PrototypeTargets
from .schedules import warmup_cosine

__all__ = [
    "Clusters",
    "Distillation",
    "Neighbors",
    "PrototypeTargets",
    "assign_cosines",
    "batched_kmeans",
    "best_assignment",
    "distillation",
    "keyed_uniform",
    "knn_predict",
    "matched_similarity",
    "nearest_slides",
    "warmup_cosine",
]
