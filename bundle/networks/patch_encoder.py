"""Patch encoders from files, whoever trained them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..core import BundleError, as_amp
from .architecture import infer_vit_architecture, load_into
from .contract_choice import EncoderChoice, check_mpp, choose_contract
from .contracts import EncoderContract
from .onnx_encoder import OnnxEncoder
from .patch_tokenizer import PatchTokenizer
from .selection import select_backbone
from .vit import PatchViT
from .vit_variant_weights import load_vit_variant
from .weights_files import weights_file
from .weights_reading import check_archive, is_onnx, is_program, read_weights, sha256_of

_ONE_BATCH = (
    "it was exported for one size of batch. Export it with batches of any size (torch.jit.script, or a trace without "
    "reshapes to a fixed number)."
)
_DINO = "dino"  # names and layout of DINO's own ViT, sizes as in the file


def load_patch_encoder(
    path: str | Path,
    patch_size: int = 256,
    *,
    encoder: str | None = None,
    encoders_file: str | Path | None = None,
    mean: Sequence[float] | float | str | None = None,
    std: Sequence[float] | float | str | None = None,
    input_px: int | None = None,
    mpp: float | None = None,
    n_heads: int | None = None,
    device: torch.device | str = "cpu",
    amp: bool = False,
) -> PatchTokenizer:
    """A frozen patch encoder, ready for 8-bit patches.

    Understood are: this bundle's ``patch_encoder.pt``, which describes itself; checkpoints and state dicts
    (``.pt``, ``.pth``, ``.bin``, ``.safetensors``) of a ViT under DINO's names, such as HIPT's
    ``vit256_small_dino.pth``, or, for models of ``encoders.yaml``, under timm's and Hugging Face's; and programs that
    map (B, 3, p, p) to (B, D): ONNX files (``.onnx``), run by onnxruntime in their own precision, and TorchScript,
    read by ``torch.jit.load``: a program in a language of tensor operations, not an unpickling of arbitrary Python
    objects; still, take it from people you trust.

    Args:
        path: the file, or a folder with one.
        patch_size: px on a side of the patches that will be encoded.
        encoder: name of the model, see ``encoders.yaml``; None: as the file says, or is called.
        encoders_file: YAML with further models.
        mean, std: normalization of pixels in [0, 1], in place of the contract's.
        input_px: px that the network sees, in place of the contract's; other patches are scaled.
        mpp: um/px at which patches are read, which is compared with that of the encoder's training.
        n_heads: attention heads of a file that does not tell; None: one per 64 values, as published.
        device: where it goes.
        amp: bfloat16; not of ONNX files.

    Raises:
        BundleError: the file is missing, broken or of another architecture, nobody says how its pixels are normalized,
            it does not give one vector a patch, or um/px are more than twice off.
    """
    path = Path(path)
    file = _existing(path)
    choice = EncoderChoice(encoder, encoders_file, mean, std, input_px)
    backbone: nn.Module
    if is_program(file):
        backbone = OnnxEncoder(file, device) if is_onnx(file) else _load_torchscript(file)
        contract = choose_contract(path, file, None, choice)
    else:
        contents = read_weights(file)
        _refuse_region_encoder(file, contents)
        contract = choose_contract(path, file, contents, choice)
        backbone = _load_vit(file, contents, contract, n_heads)
    check_mpp(contract, int(patch_size), mpp)
    side_px = contract.at(int(patch_size)).input_px or int(patch_size)
    if isinstance(backbone, OnnxEncoder):
        backbone.check_side(side_px)
    dim = _probe(backbone, side_px, file)
    if contract.dim not in (None, dim):
        raise BundleError(
            f"{file} gives {dim} values a patch, {contract.name} gives {contract.dim}: these are not its weights, or "
            "not the output that it is used with. Name the right model (--patch_encoder), or give its own file."
        )
    name, is_rounded = (path if path.is_dir() else file).stem, as_amp(amp) and not isinstance(backbone, OnnxEncoder)
    own = PatchTokenizer(backbone, dim, name=name, sha256=sha256_of(file), amp=is_rounded, contract=contract)
    return own.to(device)


def _existing(path: Path) -> Path:
    file = weights_file(path)
    if not file.is_file():
        raise BundleError(
            f"there is no patch encoder at {path}. Three ways out: train one on your own slides "
            "(python -m monai.bundle run training --config_file configs/train_patch_encoder.yaml), give HIPT's "
            "vit256_small_dino.pth as patch_encoder_ckpt, or any TorchScript or ONNX file that maps (B, 3, p, p) "
            "to (B, D)."
        )
    return file


def _load_torchscript(path: Path) -> nn.Module:
    check_archive(path)
    try:
        return torch.jit.load(path, map_location="cpu").eval()
    except RuntimeError as error:
        raise BundleError(f"{path} is a broken TorchScript file ({_short(error)}). Export it again.") from error


def _refuse_region_encoder(path: Path, contents: Mapping[str, Any]) -> None:
    if "phi.0.weight" in select_backbone(contents, source=path).backbone:
        raise BundleError(
            f"{path} holds a region encoder (tokens to embeddings), not a patch encoder (pixels to tokens). "
            "Give it as region_encoder_ckpt, and a file like models/patch_encoder.pt as patch_encoder_ckpt."
        )


def _load_vit(path: Path, contents: Mapping[str, Any], contract: EncoderContract, n_heads: int | None) -> nn.Module:
    weights = select_backbone(contents, source=path).backbone
    if contract.architecture is not None and contract.architecture.get("family") != _DINO:
        try:
            return load_vit_variant(weights, contract.architecture, source=path)
        except BundleError as error:
            raise BundleError(f"these are not the weights of {contract.name}, as they are called. {error}") from error
    architecture = infer_vit_architecture(weights, source=path)
    architecture.pop("kind")
    _compare_architecture(path, architecture, contract)
    stated = contents.get("architecture")
    heads = stated.get("n_heads") if isinstance(stated, dict) else None
    architecture["n_heads"] = n_heads or heads or architecture["n_heads"]
    try:
        backbone = PatchViT(**architecture)
    except (TypeError, ValueError, RuntimeError, ArithmeticError, MemoryError) as error:
        raise BundleError(f"{path} describes no network that can be built ({error}).") from error
    load_into(backbone, weights, source=path)
    return backbone.eval()


def _compare_architecture(path: Path, found: Mapping[str, Any], contract: EncoderContract) -> None:
    """Raise where the weights are not those of the model that the contract is for."""
    expected = {"dim": contract.dim, **(contract.architecture or {})}
    other = {name: value for name, value in expected.items() if name in found and value not in (None, found[name])}
    if other:
        words = ", ".join(f"{name} {found[name]}, {contract.name} has {value}" for name, value in other.items())
        raise BundleError(
            f"{path} is not {contract.name}: its weights have {words}. Name the model that it is (--patch_encoder), or "
            "say --patch_mean and --patch_std for one that has no name."
        )


@torch.inference_mode()
def _probe(backbone: nn.Module, side_px: int, path: Path) -> int:
    """Width of a token, found by encoding two gray patches, and each of them alone."""
    pair = torch.zeros(2, 3, side_px, side_px)
    alone = _tried_alone(backbone, pair[:1], path)
    try:
        tokens = _tried(backbone, pair, path)
    except BundleError as error:
        if alone is None:
            raise
        raise BundleError(f"{path} encodes one patch, but not two at once: {_ONE_BATCH}") from error
    if not isinstance(tokens, Tensor) or tokens.dim() != 2 or tokens.shape[0] != 2:
        found = list(tokens.shape) if isinstance(tokens, Tensor) else type(tokens).__name__
        raise BundleError(
            f"{path} does not give one vector a patch, shape [2, D], for two patches of {side_px} px: it gives "
            f"{found}. Export the pooled or CLS output."
        )
    if not tokens.isfinite().all():
        raise BundleError(
            f"{path} gives tokens that are not finite (NaN or infinite) for gray patches of {side_px} px: its weights "
            "are broken or were exported in a type too small. Export it again, in float32."
        )
    if not isinstance(alone, Tensor) or alone.shape != tokens[:1].shape:
        raise BundleError(f"{path} encodes two patches at once, but not one: {_ONE_BATCH}")
    return tokens.shape[1]


def _tried_alone(backbone: nn.Module, patch: Tensor, path: Path) -> Any:
    try:
        return _tried(backbone, patch, path)
    except BundleError:
        return None


def _tried(backbone: nn.Module, patches: Tensor, path: Path) -> Any:
    try:
        return backbone(patches)
    except (RuntimeError, ValueError, NotImplementedError) as error:
        reason = _short(error)
        if isinstance(backbone, torch.jit.ScriptModule) and ("cuda" in reason.lower() or "NVIDIA" in reason):
            raise BundleError(
                f"{path} runs on a GPU alone ({reason}): a device was written into it. Export it on the CPU."
            ) from error
        raise BundleError(
            f"{path} cannot encode patches of {patches.shape[-1]} px ({reason}). Say the px that the encoder takes "
            "(--patch_input_px, or patch_size), or give another encoder."
        ) from error


def _short(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]
