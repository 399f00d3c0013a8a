"""What inference finds in a slide: one record, one file."""

from .files import Provenance, find_embeddings
from .record import SlideEmbeddings
from .store import EMBEDDING_SUFFIX, read_embeddings, read_embeddings_header, write_embeddings
from .typical import tissue_shares, typical_regions

__all__ = [
    "EMBEDDING_SUFFIX",
    "Provenance",
    "SlideEmbeddings",
    "find_embeddings",
    "read_embeddings",
    "read_embeddings_header",
    "tissue_shares",
    "typical_regions",
    "write_embeddings",
]
