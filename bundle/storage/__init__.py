"""Token and embedding files: written once, read at random."""

from .attention import attention_on_tissue, relative_attention
from .batches import RegionBatch, collate_regions
from .checksums import checked_verify
from .dataset import TokenDataset
from .embedding_files import Provenance, embeddings_root, find_embeddings
from .embedding_record import SlideEmbeddings, tissue_shares, typical_regions
from .embedding_store import read_embeddings, read_embeddings_header, write_embeddings, write_npz
from .hdf5 import insist_on_size, own_dataset
from .known_slides import KnownSlides
from .sampler import RegionBatchSampler
from .token_files import token_width, without_listed
from .token_header import TokenHeader
from .token_store import TokenFile, read_token_header
from .token_writer import NoRoomError, TokenFileWriter
from .training_loader import training_loader

__all__ = [
    "KnownSlides",
    "NoRoomError",
    "Provenance",
    "RegionBatch",
    "RegionBatchSampler",
    "SlideEmbeddings",
    "TokenDataset",
    "TokenFile",
    "TokenFileWriter",
    "TokenHeader",
    "attention_on_tissue",
    "checked_verify",
    "collate_regions",
    "embeddings_root",
    "find_embeddings",
    "insist_on_size",
    "own_dataset",
    "read_embeddings",
    "read_embeddings_header",
    "read_token_header",
    "relative_attention",
    "tissue_shares",
    "token_width",
    "training_loader",
    "typical_regions",
    "without_listed",
    "write_embeddings",
    "write_npz",
]
