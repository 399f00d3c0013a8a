"""Networks: the two vision transformers, the projection head, student and teacher, patch encoders from files."""

from .blocks import Block, ClassBlock
from .distiller import Distiller, ema_update_, frozen_copy
from .drop import keep_rows
from .encoder import Encoder, compile_backbone
from .from_weights import load_encoder, load_region_encoder, make_student, warn_of_missing_background
from .head import LastLayer, ProjectionHead
from .patch_encoder import load_patch_encoder
from .patch_tokenizer import PatchTokenizer
from .positions import resized_positions
from .region_encoder import RegionDescriber, make_region_encoder
from .vit import PatchViT, RegionViT

__all__ = [
    "Block",
    "ClassBlock",
    "Distiller",
    "Encoder",
    "LastLayer",
    "PatchTokenizer",
    "PatchViT",
    "ProjectionHead",
    "RegionDescriber",
    "RegionViT",
    "compile_backbone",
    "ema_update_",
    "frozen_copy",
    "keep_rows",
    "load_encoder",
    "load_patch_encoder",
    "load_region_encoder",
    "make_region_encoder",
    "make_student",
    "resized_positions",
    "warn_of_missing_background",
]
