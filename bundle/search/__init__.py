"""Similar slides and regions: an index over a cohort's embeddings, and searches that explain what they find."""

from .index import SearchIndex
from .indexer import Indexer, IndexUpdate
from .nearest import NearestSlides
from .query import Query, read_queries
from .searcher import Searcher
from .where import Where

__all__ = ["IndexUpdate", "Indexer", "NearestSlides", "Query", "SearchIndex", "Searcher", "Where", "read_queries"]
