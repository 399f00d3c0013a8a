"""Prototypes of slides: clustering, matching, neighbors, the bank."""

from .bank import PrototypeBank, PrototypeTargets
from .faiss_clusters import faiss_kmeans
from .kmeans import Clusters, batched_kmeans, slide_prototypes
from .matching import assign_cosines, best_assignment, matched_similarity
from .merging import MergedSets, merge_sets
from .neighbors import Neighbors, merged_neighbors, nearest_slides
from .set_search import nearest_sets
from .sketches import SetSketch
from .statistics import clustering_stats, neighbor_stats

__all__ = [
    "Clusters",
    "MergedSets",
    "Neighbors",
    "PrototypeBank",
    "PrototypeTargets",
    "SetSketch",
    "assign_cosines",
    "batched_kmeans",
    "best_assignment",
    "clustering_stats",
    "faiss_kmeans",
    "matched_similarity",
    "merge_sets",
    "merged_neighbors",
    "nearest_sets",
    "nearest_slides",
    "neighbor_stats",
    "slide_prototypes",
]
