"""Which tensors of a checkpoint are the encoder's, and which its head's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from ..core import BundleError
from .encoder import CENTER_TOKENS, HEAD_SHA256, MASK_MISSING, hash_text
from .token_outputs import MASK_TOKEN

_CONTAINERS = ("teacher", "student", "state_dict", "model", "network")  # in the order in which they are preferred
_WRAPPERS = ("module.", "_orig_mod.", "encoder.", "backbone.")


class EncoderWeights(NamedTuple):
    """The parts of one encoder's weights, under the names that the modules of ``bundle.networks`` use.

    backbone: ViT tensors (``cls_token``, ``pos_embed``, ``blocks.0.norm1.weight``, ...).
    head: the projection head's MLP (``mlp.0.weight``, ...), empty where the file has none.
    last_layer: ``weight_v`` and ``weight_g``, empty where the file has none.
    mask_missing: the encoder leaves out tokens that are missing.
    takes_centered: it was trained on tokens less the mean of their slide.
    head_sha256: which head is its own, where that lies in another file (:func:`~bundle.networks.read_encoder`).
    """

    backbone: dict[str, Tensor]
    head: dict[str, Tensor]
    last_layer: dict[str, Tensor]
    mask_missing: bool = False
    takes_centered: bool = False
    head_sha256: str = ""


def select_backbone(state: Mapping[str, Any], *, source: str | Path = "the weights") -> EncoderWeights:
    """Find the encoder in what :func:`~bundle.networks.read_weights` gave.

    Takes the teacher if there is one, else the student, else ``state_dict`` or ``model``, else the dictionary itself.
    Strips ``module.``, ``encoder.`` and ``backbone.`` in any order. HIPT's and DINO's checkpoints, this bundle's
    checkpoints, ``model.pt``, ``patch_encoder.pt`` and bare state dicts are all understood.

    Args:
        state: a checkpoint or a state dict.
        source: the file, for the error.

    Raises:
        BundleError: there is no tensor in it.
    """
    parts, said, head_sha256 = EncoderWeights({}, {}, {}), {MASK_MISSING: False, CENTER_TOKENS: False}, ""
    for name, tensor in _tensors(state).items():
        name, of_head = _strip(name), False
        if name.startswith("head."):
            name, of_head = _strip(name.removeprefix("head.")), True
        if name in said:
            said[name] = bool(tensor)
        elif name == HEAD_SHA256:
            head_sha256 = hash_text(tensor)
        elif name.startswith("last_layer."):
            parts.last_layer[name.removeprefix("last_layer.")] = tensor
        elif name.startswith("mlp."):
            parts.head[name] = tensor
        elif name == MASK_TOKEN:
            pass  # of use to training alone
        elif not of_head:  # what else stands under head. is another project's classifier
            parts.backbone[name] = tensor
    if not parts.backbone:
        found = ", ".join(map(str, list(state)[:8])) or "nothing"
        raise BundleError(
            f"{source} holds no encoder: expected tensors, or a dictionary with a state dict under "
            f"{', '.join(_CONTAINERS)}; found {found}. Give a checkpoint of an encoder."
        )
    return parts._replace(mask_missing=said[MASK_MISSING], takes_centered=said[CENTER_TOKENS], head_sha256=head_sha256)


def _tensors(state: Mapping[str, Any]) -> dict[str, Tensor]:
    for container in _CONTAINERS:
        inner = state.get(container)
        if isinstance(inner, Mapping) and any(isinstance(value, Tensor) for value in inner.values()):
            return {str(name): value for name, value in inner.items() if isinstance(value, Tensor)}
    return {str(name): value for name, value in state.items() if isinstance(value, Tensor)}


def _strip(name: str) -> str:
    while (wrapper := next((w for w in _WRAPPERS if name.startswith(w)), None)) is not None:
        name = name.removeprefix(wrapper)
    return name
