"""The weights that go into a package, with the sizes that they say."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bundle.core import BundleError
from bundle.networks import (
    Encoder,
    ProjectionHead,
    RegionViT,
    head_beside,
    head_file,
    insist_on_head,
    is_torchscript,
    load_region_encoder,
    read_about,
    read_encoder,
    read_pretraining,
    read_weights,
    save_encoder,
    split_state,
    write_pretraining,
)

from .large_files import LIMIT


class RegionModel(NamedTuple):
    """A region encoder that can be shared.

    Attributes:
        encoder: backbone and head, on the CPU, in evaluation mode.
        slides: ids of the slides it was trained on, where they are known.
        about: what else its training noted: patch encoder, um/px, heads.
        source: its file; None for random weights, which were made to try the packaging.
    """

    encoder: Encoder
    slides: list[str] | None = None
    about: dict[str, Any] = {}
    source: Path | None = None

    @property
    def is_trained(self) -> bool:
        """It comes from a file."""
        return self.source is not None

    @property
    def state(self) -> dict[str, Tensor]:
        """The state dict of encoder and head: each tensor by itself, so that equal models make equal files."""
        return {name: tensor.detach().clone() for name, tensor in self.encoder.state_dict().items()}

    @property
    def token_dim(self) -> int:
        """Values D of a token that it takes."""
        return int(self.encoder.backbone.in_dim)  # type: ignore[arg-type]

    @property
    def dim(self) -> int:
        """Values of an embedding that it gives."""
        return int(self.encoder.backbone.dim)  # type: ignore[arg-type]

    @property
    def knobs(self) -> dict[str, int | str]:
        """Its sizes, and what it does with tokens, by the names that they have at the top of ``configs/train.yaml``."""
        assert self.encoder.head is not None
        backbone, mlp = self.encoder.backbone.architecture, self.encoder.head.mlp
        return {
            "embed_dim": self.dim,
            "depth": int(backbone["depth"]),  # type: ignore[index]
            "n_heads": int(backbone["n_heads"]),  # type: ignore[index]
            "n_registers": int(backbone.get("n_registers", 0)),  # type: ignore[operator, union-attr]
            "hidden_dim": int(mlp[0].out_features),  # type: ignore[index, union-attr]
            "bottleneck_dim": int(mlp[4].out_features),  # type: ignore[index, union-attr]
            "standardize_tokens": "auto" if self.encoder.backbone.standard is None else "true",
            "center_tokens": "slide" if self.encoder.takes_centered else "null",
        }


def read_model(path: str | Path) -> RegionModel:
    """A trained region encoder, to be packaged under this bundle's license.

    Raises:
        BundleError: there is none, it lacks its head, or the file is of another project's training.
    """
    path = Path(path)
    if not path.is_file():
        raise BundleError(
            f"there is no trained model at {path}, so there is nothing to share yet. Train one (configs/train.yaml "
            "writes models/model.pt), name one with --model, or try the packaging with random weights: --untrained."
        )
    _refuse_other_terms(read_weights(path), path)
    encoder = load_region_encoder(path, takes_centered=True)
    insist_on_head(encoder, path)
    return RegionModel(encoder, read_pretraining(path), read_about(path), path)


def untrained_model() -> RegionModel:
    """Random weights of the default sizes: for trying the packaging, good for nothing else."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return RegionModel(Encoder(RegionViT(), ProjectionHead()).eval())


def write_model(model: RegionModel, path: Path, with_slide_ids: bool) -> str:
    """``models/model.pt``, its head in ``models/model_head.pt`` and, beside them, what is known of its training.

    Files that hold bare state dicts already are copied: whatever was made with them keeps their SHA-256. One that holds
    the head, too, and is over the limit of the Model Zoo for it, is written as two.

    Args:
        model: what to write.
        path: where to.
        with_slide_ids: the ids of the training slides may leave.

    Returns:
        What to know of it; empty: nothing.
    """
    remark = ""
    if model.source is not None and _is_bare(model):
        if model.source.stat().st_size <= LIMIT or not _has_head(model.source):
            _copy(model.source, path)
        else:
            save_encoder(model.state, path)
            remark = (
                f"{model.source} holds its projection head, too, and is over {LIMIT // 10**6} MB: it is two files in "
                "the package, so that embeddings and heads that were made with the one are not known to be of them"
            )
    else:
        save_encoder(model.state, path)
    if model.is_trained:
        about = {**model.about, "n_heads": model.knobs["n_heads"]}
        write_pretraining(path, model.slides if with_slide_ids else None, about)
    return remark


def _copy(source: Path, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, path)
    beside = head_beside(source)
    if beside is not None and not _has_head(source):
        shutil.copyfile(beside, head_file(path))


def _has_head(source: Path) -> bool:
    return bool(read_encoder(source, with_head=False)[1].head)


def _is_bare(model: RegionModel) -> bool:
    """Its file has the names of the state dict that would be written, alone or with that of its head."""
    contents, whole = set(read_weights(str(model.source))), set(model.state)
    # weights of before do not say whether they mask
    names = whole if _has_head(Path(str(model.source))) else set(split_state(model.state)[0])
    return Path(str(model.source)).suffix != ".safetensors" and contents | {"mask_missing"} == names


def read_patch_encoder(path: str | Path) -> dict[str, Any]:
    """What stage one wrote (``teacher``, ``architecture``, ``normalization``), to be shared under the bundle's license.

    Raises:
        BundleError: missing, broken, or not of stage one.
    """
    path = Path(path)
    if path.is_file() and is_torchscript(path):
        contents: dict[str, Any] = {}
    else:
        contents = read_weights(path)
        _refuse_other_terms(contents, path)
    missing = [name for name in ("teacher", "architecture", "normalization") if name not in contents]
    if missing:
        raise BundleError(
            f"{path} was not written by stage one of this bundle ({', '.join(missing)} missing), so its terms are not "
            "this bundle's to give. Leave it out with --patch_encoder none; whoever uses the package brings it."
        )
    return contents


def _refuse_other_terms(contents: dict[str, Any], path: Path) -> None:
    if "args" in contents:
        raise BundleError(
            f"{path} is a checkpoint of HIPT's or DINO's training script (it holds that script's arguments) and comes "
            "under terms of its own; a package of this bundle is under Apache-2.0. Train your own, or leave a patch "
            "encoder out with --patch_encoder none."
        )
