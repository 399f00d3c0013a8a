"""Slide prototypes: clustering, matching and the targets they give."""

from .bank import PrototypeBank
from .faiss_clusters import faiss_kmeans
from .statistics import clustering_stats, neighbor_stats

__all__ = ["PrototypeBank", "clustering_stats", "faiss_kmeans", "neighbor_stats"]
