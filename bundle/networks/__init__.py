"""Patch and region encoders, heads, student and teacher, and their weights."""

from .architecture import infer_vit_architecture
from .contract_choice import contract_of, mpp_misfit
from .contracts import EncoderContract, named_contract, registry
from .distiller import Distiller, ema_update_, frozen_copy
from .encoder import Encoder, compile_backbone
from .from_weights import insist_on_head, load_region_encoder, make_student, warn_of_missing_background
from .head import LastLayer, ProjectionHead
from .joined_encoders import JoinedEncoders
from .patch_encoder import load_patch_encoder
from .patch_tokenizer import PatchTokenizer
from .positions import resized_positions
from .pretraining import read_about, read_pretraining, write_pretraining
from .region_encoder import RegionDescriber, make_projection_head, make_region_encoder, untrained_encoder
from .selection import select_backbone
from .split_weights import head_beside, head_file, read_encoder, save_encoder, split_state
from .stated_encoder import stated_contract, stated_patch_encoder
from .stated_reading import STANDARD_READING, StatedReading
from .token_kind import TokenKind
from .token_outputs import TokenChoice
from .token_standard import TokenStandard
from .vit import PatchViT, RegionViT
from .vit_architectures import VIT_ARCHITECTURES
from .vit_variant_weights import load_vit_variant, variant_weights
from .vit_variants import VariantArchitecture, ViTVariant, build_vit_variant
from .weights_files import weights_file
from .weights_reading import is_torchscript, read_weights, sha256_of, weights_name

__all__ = [
    "Distiller",
    "Encoder",
    "EncoderContract",
    "JoinedEncoders",
    "LastLayer",
    "PatchTokenizer",
    "PatchViT",
    "ProjectionHead",
    "RegionDescriber",
    "RegionViT",
    "STANDARD_READING",
    "StatedReading",
    "TokenChoice",
    "TokenKind",
    "TokenStandard",
    "VIT_ARCHITECTURES",
    "VariantArchitecture",
    "ViTVariant",
    "build_vit_variant",
    "compile_backbone",
    "contract_of",
    "ema_update_",
    "frozen_copy",
    "head_beside",
    "head_file",
    "infer_vit_architecture",
    "insist_on_head",
    "is_torchscript",
    "load_patch_encoder",
    "load_region_encoder",
    "load_vit_variant",
    "make_projection_head",
    "make_region_encoder",
    "make_student",
    "mpp_misfit",
    "named_contract",
    "read_about",
    "read_encoder",
    "read_pretraining",
    "read_weights",
    "registry",
    "resized_positions",
    "save_encoder",
    "select_backbone",
    "sha256_of",
    "split_state",
    "stated_contract",
    "stated_patch_encoder",
    "untrained_encoder",
    "variant_weights",
    "warn_of_missing_background",
    "weights_file",
    "weights_name",
    "write_pretraining",
]
