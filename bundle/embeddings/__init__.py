"""What inference finds in a slide: one record, one file; an index of many."""

from .files import Provenance, find_embeddings
from .index import IndexRow, read_index, write_index
from .npz import write_npz
from .record import SlideEmbeddings
from .store import EMBEDDING_SUFFIX, read_embeddings, read_embeddings_header, remove_stale_embeddings, write_embeddings
from .typical import tissue_shares, typical_regions

__all__ = [
    "EMBEDDING_SUFFIX",
    "IndexRow",
    "Provenance",
    "SlideEmbeddings",
    "find_embeddings",
    "read_embeddings",
    "read_embeddings_header",
    "read_index",
    "remove_stale_embeddings",
    "tissue_shares",
    "typical_regions",
    "write_embeddings",
    "write_index",
    "write_npz",
]
