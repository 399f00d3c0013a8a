"""Prototypes of slides: clustering, matching, neighbors, the bank."""

from .bank import PrototypeBank
from .kmeans import Clusters, batched_kmeans, slide_prototypes
from .matching import matched_similarity
from .merging import MergedSets, merge_sets
from .neighbors import Neighbors, nearest_slides
from .outlook import PLAIN_DINO, Outlook, never_begins
from .set_search import nearest_sets
from .sketches import SetSketch
from .targets import PrototypeChoices, PrototypeTargets

__all__ = [
    "Clusters",
    "MergedSets",
    "Neighbors",
    "Outlook",
    "PLAIN_DINO",
    "PrototypeBank",
    "PrototypeChoices",
    "PrototypeTargets",
    "SetSketch",
    "batched_kmeans",
    "matched_similarity",
    "merge_sets",
    "nearest_sets",
    "nearest_slides",
    "never_begins",
    "slide_prototypes",
]
