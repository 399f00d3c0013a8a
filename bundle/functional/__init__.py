"""Arithmetic: tensors (or arrays) in, tensors out, no state, no files, no processes."""

from .curves import (
    Reliability,
    RocBand,
    SurvivalCurve,
    discordant_share,
    holm,
    log_rank_p,
    mean_roc,
    reliability,
    roc_points,
    survival_curve,
    upper_half,
)
from .entropy import Distillation, distillation
from .full_precision import full_precision
from .hand_over import hand_over
from .keyed_random import keyed_uniform, keyed_uniforms
from .kmeans import Clusters, batched_kmeans
from .knn import knn_predict, knn_vote
from .matching import assign_cosines, best_assignment, matched_similarity
from .merging import MergedSets, merge_sets
from .neighbors import Neighbors, merged_neighbors, nearest_slides
from .palette import NO_PROTOTYPE, OKABE_ITO, prototype_colors
from .prototype_targets import PrototypeTargets
from .schedules import warmup_cosine
from .set_search import nearest_sets
from .sketches import principal_directions, sketched
from .slide_prototypes import slide_prototypes

__all__ = [
    "Clusters",
    "Distillation",
    "MergedSets",
    "NO_PROTOTYPE",
    "Neighbors",
    "OKABE_ITO",
    "PrototypeTargets",
    "Reliability",
    "RocBand",
    "SurvivalCurve",
    "assign_cosines",
    "batched_kmeans",
    "best_assignment",
    "discordant_share",
    "distillation",
    "full_precision",
    "hand_over",
    "holm",
    "keyed_uniform",
    "keyed_uniforms",
    "knn_predict",
    "knn_vote",
    "log_rank_p",
    "matched_similarity",
    "mean_roc",
    "merge_sets",
    "merged_neighbors",
    "nearest_sets",
    "nearest_slides",
    "principal_directions",
    "prototype_colors",
    "reliability",
    "roc_points",
    "sketched",
    "slide_prototypes",
    "survival_curve",
    "upper_half",
    "warmup_cosine",
]
