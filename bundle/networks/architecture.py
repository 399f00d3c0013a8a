"""What kind of vision transformer a state dict belongs to, read off its shapes; and weights into a module."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..core import BundleError

_SHOWN = 4
_REGISTERS = "register_tokens"
_BLOCK = re.compile(r"blocks\.(\d+)\.")


def infer_vit_architecture(state: Mapping[str, Tensor], *, source: str | Path = "the weights") -> dict[str, Any]:
    """Read a ViT's arguments off its backbone's tensors (HIPT's and DINO's names).

    The number of heads leaves no trace in shapes. It is taken as the published models have it: 64 values a head for
    a ViT on pixels, 32 for a ViT on tokens. A file of another kind must say so by itself (``patch_encoder.pt`` does).

    Args:
        state: backbone of :func:`~bundle.networks.select_backbone`.
        source: the file, for the error.

    Returns:
        ``{"kind": "patch", "image_size", "patch_size", "dim", "depth", "n_heads", "mlp_ratio"}`` for a ViT on pixels,
        ``{"kind": "region", "in_dim", "n_positions", "dim", "depth", "n_heads", "mlp_ratio"}`` for one on tokens, with
        ``"n_registers"`` where it has any.

    Raises:
        BundleError: the tensors are no such ViT's.
    """
    on_tokens = "phi.0.weight" in state
    first = "phi.0.weight" if on_tokens else "patch_embed.proj.weight"
    needed = ("cls_token", "pos_embed", first, "blocks.0.mlp.fc1.weight", "norm.weight")
    missing = [name for name in needed if name not in state]
    if missing:
        raise BundleError(
            f"{source} is not a vision transformer with DINO's names: {', '.join(missing)} missing; "
            f"found {', '.join(list(state)[:6]) or 'nothing'}. Export it as TorchScript to use it as a patch encoder."
        )
    try:
        return _read_off(state, first, source)
    except (IndexError, ZeroDivisionError, ValueError) as error:
        shapes = ", ".join(f"{name} {list(state[name].shape)}" for name in needed)
        raise BundleError(f"{source} has tensors of shapes that no vision transformer has: {shapes}.") from error


def _read_off(state: Mapping[str, Tensor], first: str, source: str | Path) -> dict[str, Any]:
    """The arguments, from the shapes of tensors that are all there."""
    on_tokens = first.startswith("phi.")
    dim = state["cls_token"].shape[-1]
    side = math.isqrt(state["pos_embed"].shape[1] - 1)
    if side * side + 1 != state["pos_embed"].shape[1]:
        raise BundleError(
            f"{source} has {state['pos_embed'].shape[1]} positions, not a square grid and CLS "
            "(register tokens or a class-token-free model are not supported). Export it as TorchScript instead."
        )
    blocks = {int(match[1]) for match in map(_BLOCK.match, state) if match}
    if blocks != set(range(len(blocks))):  # before networks are built for them
        raise BundleError(f"{source} lacks blocks: it has {len(blocks)}, the last of which is number {max(blocks)}.")
    shared = {
        "dim": dim,
        "depth": len(blocks),
        "n_heads": max(1, dim // (32 if on_tokens else 64)),
        "mlp_ratio": state["blocks.0.mlp.fc1.weight"].shape[0] / dim,
    }
    if on_tokens:
        registers = {"n_registers": state[_REGISTERS].shape[1]} if _REGISTERS in state else {}
        return {"kind": "region", "in_dim": state[first].shape[1], "n_positions": side, **shared, **registers}
    pixels = state[first].shape[-1]
    return {"kind": "patch", "image_size": side * pixels, "patch_size": pixels, **shared}


def _describe(state: Mapping[str, Tensor]) -> str:
    """The same in words, for error messages; never raises."""
    try:
        found = infer_vit_architecture(state)
    except BundleError:
        return "no ViT with DINO's names"
    size = f"width {found['dim']}, depth {found['depth']}, MLP ratio {found['mlp_ratio']:g}"
    if found["kind"] == "region":
        side = found["n_positions"]
        registers = f", {found['n_registers']} registers" if "n_registers" in found else ""
        return f"a region ViT on {found['in_dim']}-d tokens ({size}, {side}x{side} positions{registers})"
    return f"a patch ViT on {found['image_size']} px images ({size}, {found['patch_size']} px patches)"


def load_into(module: nn.Module, state: Mapping[str, Tensor], *, source: str | Path) -> None:
    """Load strictly: every tensor of the module is replaced, every given tensor is used, shapes agree.

    Args:
        module: what to load into; unchanged if anything does not fit.
        state: tensors under the module's own names.
        source: the file, for the error.

    Raises:
        BundleError: lists missing and unexpected names and differing shapes, and says what the two architectures are.
    """
    own = module.state_dict()
    if complaints := misfits(own, state):
        raise BundleError(
            f"{source} does not fit: {complaints}. The file holds {_describe(state)}; "
            f"expected is {_describe(own)}. Give a file of that architecture, or set the architecture to the file's."
        )
    module.load_state_dict(dict(state), strict=True)


def misfits(own: Mapping[str, Tensor], given: Mapping[str, Tensor], unexpected: Sequence[str] = ()) -> str:
    """Missing and unexpected names and differing shapes, in words, a few of each; empty where all fits.

    Args:
        own: what a module has, by name.
        given: what a file has under the module's names.
        unexpected: names in the file that are none of the module's.
    """
    shapes = [
        f"{name} is {list(given[name].shape)} in the file, {list(tensor.shape)} here"
        for name, tensor in own.items()
        if name in given and given[name].shape != tensor.shape
    ]
    complaints = {
        "missing": [name for name in own if name not in given],
        "unexpected": [*unexpected, *(name for name in given if name not in own)],
        "different shapes": shapes,
    }
    said = []
    for title, entries in complaints.items():
        if entries:
            more = f" and {len(entries) - _SHOWN} more" if len(entries) > _SHOWN else ""
            said.append(f"{title}: {', '.join(entries[:_SHOWN])}{more}")
    return "; ".join(said)
