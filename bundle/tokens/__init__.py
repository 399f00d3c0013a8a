"""The token store: one HDF5 file a slide, written once, read at random."""

from .batches import RegionBatch, collate_regions
from .dataset import TokenDataset
from .files import find_token_files, token_width
from .memory import available_memory
from .sampler import RegionBatchSampler
from .store import FORMAT_VERSION, TokenFile, TokenHeader, read_token_header
from .writer import NoRoomError, TokenFileWriter, remove_stale_parts

__all__ = [
    "FORMAT_VERSION",
    "NoRoomError",
    "RegionBatch",
    "RegionBatchSampler",
    "TokenDataset",
    "TokenFile",
    "TokenFileWriter",
    "TokenHeader",
    "available_memory",
    "collate_regions",
    "find_token_files",
    "read_token_header",
    "remove_stale_parts",
    "token_width",
]
