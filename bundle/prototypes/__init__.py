"""Slide prototypes: clustering, matching and the targets they give."""

from .bank import PrototypeBank
from .cohort_atlas import CohortAtlas
from .faiss_clusters import faiss_kmeans
from .statistics import clustering_stats, neighbor_stats

__all__ = ["CohortAtlas", "PrototypeBank", "clustering_stats", "faiss_kmeans", "neighbor_stats"]
