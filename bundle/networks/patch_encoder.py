"""Patch encoders from files, whoever trained them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..core import BundleError, as_bool
from .architecture import infer_vit_architecture, load_into
from .patch_tokenizer import IMAGENET_MEAN, IMAGENET_STD, PatchTokenizer
from .selection import select_backbone
from .vit import PatchViT
from .weights_reading import is_torchscript, read_weights, sha256_of


def load_patch_encoder(
    path: str | Path,
    patch_size: int = 256,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    n_heads: int | None = None,
    device: torch.device | str = "cpu",
    amp: bool = False,
) -> PatchTokenizer:
    """A frozen patch encoder, ready for 8-bit patches.

    Understood are: this bundle's ``patch_encoder.pt``, which describes itself; checkpoints and state dicts (``.pt``,
    ``.pth``, ``.safetensors``) of a ViT under DINO's names, such as HIPT's ``vit256_small_dino.pth``; and TorchScript
    programs that map (B, 3, p, p) to (B, D). TorchScript is read by ``torch.jit.load``: a program in a language of
    tensor operations, not an unpickling of arbitrary Python objects; still, take it from people you trust.

    Args:
        path: the file.
        patch_size: px on a side of the patches that will be encoded.
        mean, std: normalization of pixels in [0, 1]; None: what the file says, else ImageNet's.
        n_heads: attention heads of a file that does not tell; None: one per 64 values, as published.
        device: where it goes.
        amp: bfloat16.

    Raises:
        BundleError: the file is missing, broken or of another architecture, or does not give one vector a patch.
    """
    path = Path(path)
    if not path.is_file():
        raise BundleError(
            f"there is no patch encoder at {path}. Three ways out: train one on your own slides "
            "(python -m monai.bundle run training --config_file configs/train_patch_encoder.yaml), give HIPT's "
            "vit256_small_dino.pth as patch_encoder_ckpt, or any TorchScript file that maps (B, 3, p, p) to (B, D)."
        )
    if is_torchscript(path):
        backbone = _load_torchscript(path)
        normalization: dict[str, Any] = {}
    else:
        backbone, normalization = _load_vit(path, n_heads)
    tokenizer = PatchTokenizer(
        backbone,
        _probe(backbone, int(patch_size), path),
        mean=mean or normalization.get("mean") or IMAGENET_MEAN,
        std=std or normalization.get("std") or IMAGENET_STD,
        name=path.stem,
        sha256=sha256_of(path),
        amp=as_bool(amp),
    )
    return tokenizer.to(device)


def _load_torchscript(path: Path) -> nn.Module:
    try:
        return torch.jit.load(path, map_location="cpu").eval()
    except RuntimeError as error:
        raise BundleError(f"{path} is a broken TorchScript file ({_short(error)}). Export it again.") from error


def _load_vit(path: Path, n_heads: int | None) -> tuple[nn.Module, dict[str, Any]]:
    contents = read_weights(path)
    weights = select_backbone(contents, source=path).backbone
    architecture = infer_vit_architecture(weights, source=path)
    if architecture.pop("kind") != "patch":
        raise BundleError(
            f"{path} holds a region encoder (tokens to embeddings), not a patch encoder (pixels to tokens). "
            "Give it as region_encoder_ckpt, and a file like models/patch_encoder.pt as patch_encoder_ckpt."
        )
    stated = contents.get("architecture")
    heads = stated.get("n_heads") if isinstance(stated, dict) else None
    architecture["n_heads"] = n_heads or heads or architecture["n_heads"]
    try:
        backbone = PatchViT(**architecture)
    except (TypeError, ValueError) as error:
        raise BundleError(f"{path} describes no network that can be built ({error}).") from error
    load_into(backbone, weights, source=path)
    normalization = contents.get("normalization")
    return backbone.eval(), normalization if isinstance(normalization, dict) else {}


@torch.inference_mode()
def _probe(backbone: nn.Module, patch_size: int, path: Path) -> int:
    """Width of a token, found by encoding two gray patches."""
    wanted = f"one vector a patch, shape [2, D], for two patches of {patch_size} px"
    try:
        tokens = backbone(torch.zeros(2, 3, patch_size, patch_size))
    except (RuntimeError, ValueError) as error:
        raise BundleError(
            f"{path} cannot encode patches of {patch_size} px ({_short(error)}). "
            "Set patch_size to what the encoder takes, or give another encoder."
        ) from error
    if not isinstance(tokens, torch.Tensor) or tokens.dim() != 2 or tokens.shape[0] != 2:
        found = list(tokens.shape) if isinstance(tokens, torch.Tensor) else type(tokens).__name__
        raise BundleError(f"{path} does not give {wanted}: it gives {found}. Export the pooled or CLS output.")
    return tokens.shape[1]


def _short(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]
