"""Weights under timm's, Hugging Face's and DINO's names into a :class:`~bundle.networks.ViTVariant`, strictly."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..core import BundleError
from .architecture import misfits
from .vit_variants import ViTVariant, build_vit_variant

_WHOLE = {
    "reg_token": "registers",  # timm
    "register_tokens": "registers",  # DINOv2
    "embeddings.cls_token": "cls_token",  # Hugging Face, from here on
    "embeddings.register_tokens": "registers",
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.patch_embeddings.projection.weight": "patch_embed.proj.weight",
    "embeddings.patch_embeddings.projection.bias": "patch_embed.proj.bias",
    "layernorm.weight": "norm.weight",
    "layernorm.bias": "norm.bias",
}
# of masked training, and of a pooling that none of these models' tokens pass
_UNUSED = ("mask_token", "embeddings.mask_token", "pooler.dense.weight", "pooler.dense.bias")

# "blocks.3." of timm and DINO, "blocks.0.3." of DINOv2 in chunks, "encoder.layer.3." and "layers.3." of Hugging Face
_BLOCK = re.compile(r"(?:blocks|(?:encoder\.)?layers?)\.(?:\d+\.)?(\d+)\.(.+?)(\.weight|\.bias)?")
_IN_BLOCK = {
    "ls1.gamma": "scale1",
    "ls2.gamma": "scale2",
    "mlp.w12": "mlp.fc1",
    "mlp.w3": "mlp.fc2",
    "layer_scale1.lambda1": "scale1",  # Hugging Face, from here on
    "layer_scale2.lambda1": "scale2",
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "attention.output.dense": "attn.proj",
    "attention.o_proj": "attn.proj",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
    "mlp.weights_in": "mlp.fc1",
    "mlp.weights_out": "mlp.fc2",
    "mlp.down_proj": "mlp.fc2",
}
# parts of one of our tensors, in the order in which they are joined
_PARTS = {
    "attention.attention.query": ("attn.qkv", 0),
    "attention.attention.key": ("attn.qkv", 1),
    "attention.attention.value": ("attn.qkv", 2),
    "attention.q_proj": ("attn.qkv", 0),
    "attention.k_proj": ("attn.qkv", 1),
    "attention.v_proj": ("attn.qkv", 2),
    "mlp.gate_proj": ("mlp.fc1", 0),
    "mlp.up_proj": ("mlp.fc1", 1),
}


def load_vit_variant(
    state: Mapping[str, Tensor], architecture: Mapping[str, Any], *, source: str | Path = "the weights"
) -> ViTVariant:
    """A network with the weights of a file, in float32, ready to encode.

    Args:
        state: tensors, see :func:`variant_weights`.
        architecture: see :func:`~bundle.networks.build_vit_variant`; ``image_size`` may be None: as in the file.
        source: the file, for the error.

    Raises:
        BundleError: see :func:`variant_weights`.
    """
    architecture = with_image_size(architecture, state, source=source)
    weights = variant_weights(state, architecture, source=source)
    with torch.device("meta"):  # no time and no memory for weights that are replaced
        network = build_vit_variant(architecture)
    network.load_state_dict({name: tensor.float() for name, tensor in weights.items()}, strict=True, assign=True)
    return network.eval()


def with_image_size(
    architecture: Mapping[str, Any], state: Mapping[str, Tensor], *, source: str | Path = "the weights"
) -> dict[str, Any]:
    """The same architecture; where its ``image_size`` is None it is read off the positions in ``state``.

    Raises:
        BundleError: there are no positions of a square grid.
    """
    if architecture.get("image_size", 0) is not None:
        return dict(architecture)
    positions = _renamed(state)[0].get("pos_embed")
    n = positions.shape[1] if positions is not None and positions.dim() == 3 else 0
    n_placed = {"patches": 0, "all": 1 + architecture.get("n_registers", 0)}.get(architecture.get("positions", ""), 1)
    for cells in (n - n_placed, n - 1, n):  # files have two forms, see _with_placed
        side = math.isqrt(max(cells, 0))
        if side and side * side == cells:
            return {**architecture, "image_size": side * architecture["patch_size"]}
    raise BundleError(
        f"{source} has {n} positions, those of no square grid: it is not a ViT of the kind expected here."
    )


def variant_weights(
    state: Mapping[str, Tensor], architecture: Mapping[str, Any], *, source: str | Path = "the weights"
) -> dict[str, Tensor]:
    """Tensors of a published file under the names of :class:`~bundle.networks.ViTVariant`.

    Understood are the names of timm's ``VisionTransformer``, of ``ViTModel``, ``Dinov2Model`` and
    ``Dinov2WithRegistersModel`` of Hugging Face's transformers, and those of DINO and DINOv2; a prefix that all of them
    share (``module.``, ``backbone.``) is taken off. Queries, keys and values are joined. A class token with or without
    a position of its own is made what the architecture says: the position is a constant that is added to the token.
    Mask tokens and Hugging Face's pooler take no part in any token and are left out; every other tensor is used, or
    named in the error.

    Args:
        state: name: tensor.
        architecture: what the file should hold, see :func:`~bundle.networks.build_vit_variant`.
        source: the file, for the error.

    Raises:
        BundleError: lists missing and unexpected names and differing shapes, and says what the two architectures are.
    """
    found, unexpected = _renamed(state)
    with torch.device("meta"):
        network = build_vit_variant(architecture)
    own = network.state_dict()
    found = _with_placed(found, own["pos_embed"].shape[1], network.architecture.positions)
    if complaints := misfits(own, found, unexpected):
        raise BundleError(
            f"{source} does not fit: {complaints}. The file holds {_describe(found)}; expected is "
            f"{_describe(own)}. Give the file of the encoder that was named, or name the encoder of the file."
        )
    return {name: found[name] for name in own}


def _renamed(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Tensors under our names, and the names of those for which there is none or which another one has taken."""
    of_class = next((name for name in state if name.split(".")[-1] == "cls_token"), "cls_token")
    prefix = of_class.removesuffix("cls_token").removesuffix("embeddings.")
    found: dict[str, Tensor] = {}
    parts: dict[str, dict[int, Tensor]] = {}
    unexpected = []
    for name, tensor in state.items():
        ours, part = _our_name(name.removeprefix(prefix))
        if ours is None:
            continue
        taken = parts.setdefault(ours, {}) if part is not None else found
        key: Any = ours if part is None else part
        if key in taken:
            unexpected.append(name)
        else:
            taken[key] = tensor
    for ours, own in parts.items():
        pieces = [own[i] for i in sorted(own)]
        complete = len(own) == (3 if ".qkv." in ours else 2) and len({piece.shape for piece in pieces}) == 1
        if complete and ours not in found:
            found[ours] = torch.cat(pieces)
        else:
            unexpected.append(f"a part of {ours}")
    return found, unexpected


def _our_name(name: str) -> tuple[str | None, int | None]:
    """Our name of a tensor, or None where it has no use, and which part of ours it is."""
    if name in _UNUSED:
        return None, None
    match = _BLOCK.fullmatch(name)
    if match is None:
        return _WHOLE.get(name, name), None
    index, inner, kind = match[1], match[2], match[3] or ""
    ours, part = _PARTS.get(inner, (_IN_BLOCK.get(inner, inner), None))
    return f"blocks.{index}.{ours}{kind}", part


def _with_placed(found: dict[str, Tensor], n_positions: int, positions: str) -> dict[str, Tensor]:
    """With or without a position of the class token, as wanted: DINOv2 has one, timm adds it to the token."""
    placed, token = found.get("pos_embed"), found.get("cls_token")
    if placed is None or token is None or placed.dim() != 3 or token.shape[-1] != placed.shape[-1]:
        return found
    if positions == "patches" and placed.shape[1] == n_positions + 1:
        return {**found, "cls_token": token + placed[:, :1], "pos_embed": placed[:, 1:]}
    if positions == "class" and placed.shape[1] == n_positions - 1:
        return {**found, "pos_embed": torch.cat([torch.zeros_like(placed[:, :1]), placed], 1)}
    return found


def _describe(state: Mapping[str, Tensor]) -> str:
    """What a ViT's tensors, under our names, say about it, for error messages; never raises."""
    needed = ("patch_embed.proj.weight", "pos_embed", "blocks.0.mlp.fc1.weight", "blocks.0.mlp.fc2.weight")
    if any(name not in state or state[name].dim() < 2 for name in needed):
        return "no ViT with names of timm, Hugging Face or DINO"
    embedding, placed, fc1, fc2 = (state[name] for name in needed)
    depth = len({name.split(".")[1] for name in state if name.startswith("blocks.")})
    kind = "SwiGLU" if fc1.shape[0] == 2 * fc2.shape[1] else "MLP"
    registers = state["registers"].shape[1] if "registers" in state else 0
    return (
        f"a ViT of width {embedding.shape[0]} and depth {depth} on {embedding.shape[-1]} px patches ({kind} of "
        f"{fc2.shape[1]}, {registers} registers, {placed.shape[1]} positions, "
        f"{'with' if 'blocks.0.scale1' in state else 'without'} LayerScale)"
    )
