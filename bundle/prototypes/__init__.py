"""Slide prototypes: clustering, matching and the targets they give."""

from .bank import PrototypeBank
from .cohort_atlas import CohortAtlas
from .faiss_clusters import faiss_kmeans
from .large_cohorts import mean_prototype_index, nearest_slides_by_candidates
from .statistics import clustering_stats, neighbor_stats

__all__ = [
    "CohortAtlas",
    "PrototypeBank",
    "clustering_stats",
    "faiss_kmeans",
    "mean_prototype_index",
    "nearest_slides_by_candidates",
    "neighbor_stats",
]
