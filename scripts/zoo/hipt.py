"""Encoders as HIPT's own scripts load them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bundle.core import BundleError, save_atomically
from bundle.networks import infer_vit_architecture, read_weights, select_backbone

from .model import RegionModel

REGION_FILE = "vit4k_xs_slpd.pth"
PATCH_FILE = "vit256_small_dino.pth"
_PUBLISHED = {
    "region": {"in_dim": 384, "n_positions": 14, "dim": 192, "depth": 6, "n_heads": 6, "mlp_ratio": 4.0},
    "patch": {"image_size": 224, "patch_size": 16, "dim": 384, "depth": 12, "n_heads": 6, "mlp_ratio": 4.0},
}


def export_region_encoder(model: RegionModel, folder: Path) -> Path:
    """Write a checkpoint with ``backbone.*`` and ``head.mlp.*`` under ``teacher``, and read it back.

    Beside it stands how many attention heads there are, which HIPT's scripts do not read and shapes do not tell.
    """
    heads = {"n_heads": model.knobs["n_heads"]}
    return _export({"teacher": model.state, "architecture": heads}, folder / REGION_FILE)


def export_patch_encoder(contents: Mapping[str, Any], folder: Path) -> Path:
    """The same for what stage one wrote; its architecture, normalization and contract stay beside ``teacher``."""
    state = select_backbone(contents).backbone
    kept = {name: contents[name] for name in ("architecture", "normalization", "contract") if name in contents}
    return _export({"teacher": {f"backbone.{name}": t for name, t in state.items()}, **kept}, folder / PATCH_FILE)


def differences_from_published(path: Path) -> list[str]:
    """What a file has otherwise than HIPT's own, whose sizes its scripts have built in; empty: they take it."""
    contents = read_weights(path)
    parts = select_backbone(contents, source=path)
    habits = {
        "tokens standardized (HIPT: as they are)": "standard.mean" in parts.backbone,
        "tokens less the mean of their slide (HIPT: as they are)": parts.takes_centered,
        "missing tokens left out (HIPT: none are missing)": parts.mask_missing,
    }
    found = infer_vit_architecture(parts.backbone, source=path)
    found |= contents.get("architecture", {})  # it knows its heads, which leave no trace in shapes
    published = _PUBLISHED[found["kind"]]
    sizes = [f"{name} {found[name]:g} (HIPT: {value:g})" for name, value in published.items() if found[name] != value]
    return sizes + [habit for habit, has in habits.items() if has]


def _export(checkpoint: dict[str, Any], path: Path) -> Path:
    plain = {**checkpoint, "teacher": {name: t.detach().clone() for name, t in checkpoint["teacher"].items()}}
    save_atomically(plain, path)
    back: Mapping[str, Tensor] = read_weights(path)["teacher"]
    same = back.keys() == plain["teacher"].keys()
    if not same or not all(torch.equal(back[name], tensor) for name, tensor in plain["teacher"].items()):
        raise BundleError(f"{path} reads back other weights than were written: is the disk sound?")
    return path
