"""Weights as files: read without unpickling, taken apart by name, loaded strictly, written atomically."""

from .architecture import infer_vit_architecture
from .atomic import link_atomically, save_atomically
from .loading import load_into
from .pretraining import pretraining_file, read_about, read_pretraining, write_pretraining
from .reading import is_torchscript, read_weights, sha256_of, weights_name
from .selection import EncoderWeights, select_backbone

__all__ = [
    "EncoderWeights",
    "infer_vit_architecture",
    "is_torchscript",
    "link_atomically",
    "load_into",
    "pretraining_file",
    "read_about",
    "read_pretraining",
    "read_weights",
    "save_atomically",
    "select_backbone",
    "sha256_of",
    "weights_name",
    "write_pretraining",
]
