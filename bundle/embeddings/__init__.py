"""What inference finds in a slide: one record, one file."""

from .files import find_embeddings
from .record import SlideEmbeddings
from .store import EMBEDDING_SUFFIX, read_embeddings, read_embeddings_header, write_embeddings

__all__ = [
    "EMBEDDING_SUFFIX",
    "SlideEmbeddings",
    "find_embeddings",
    "read_embeddings",
    "read_embeddings_header",
    "write_embeddings",
]
