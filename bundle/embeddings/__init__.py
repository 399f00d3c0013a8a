"""What inference finds in a slide: one record, one file; an index of many."""

from .index import IndexRow, read_index, write_index
from .npz import write_npz
from .record import SlideEmbeddings
from .store import EMBEDDING_SUFFIX, read_embeddings, read_embeddings_header, write_embeddings

__all__ = [
    "EMBEDDING_SUFFIX",
    "IndexRow",
    "SlideEmbeddings",
    "read_embeddings",
    "read_embeddings_header",
    "read_index",
    "write_embeddings",
    "write_index",
    "write_npz",
]
