"""What was learned from labels, kept beside an encoder: fitted heads, their files, and what they say of slides."""

from .gated_attention import GatedAttention
from .head import Head, RegionScores
from .head_files import check_head_path, load_head, save_head
from .record import HeadRecord, name_key
from .scorers import AttentionScorer, RowScorer, Tensors, means_of

__all__ = [
    "AttentionScorer",
    "GatedAttention",
    "Head",
    "HeadRecord",
    "RegionScores",
    "RowScorer",
    "Tensors",
    "check_head_path",
    "load_head",
    "means_of",
    "name_key",
    "save_head",
]
