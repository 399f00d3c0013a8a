"""Region encoders and students from files."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..core import BundleError, as_bool, as_number, as_whole
from .architecture import infer_vit_architecture, load_into
from .distiller import Distiller
from .encoder import Encoder, compile_backbone
from .head import LastLayer, ProjectionHead
from .pretraining import read_about
from .selection import EncoderWeights
from .split_weights import missing_head, read_encoder
from .token_standard import TokenStandard
from .vit import RegionViT
from .weights_reading import read_weights

_log = logging.getLogger(__name__)


class Tokens(Protocol):
    """What a network asks of the tokens that it is trained on."""

    @property
    def has_missing(self) -> bool:
        """Some are missing."""

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the cohort's tokens, asked where they are needed."""


def make_student(
    encoder: Encoder,
    last_layer: LastLayer,
    weights: str | Path | None = None,
    device: torch.device | str = "cpu",
    compiled: bool = False,
    mask_missing: bool | str = "auto",
    dataset: Tokens | None = None,
    standardize_tokens: bool | str = "auto",
    mask_weight: float = 0.0,
    head: ProjectionHead | None = None,
) -> Distiller:
    """The network that is trained, from its initialization or from a file.

    Args:
        encoder: backbone, and the head where it is not given apart.
        last_layer: loaded, too, where the file has one of the same shape.
        weights: ``.pth`` of HIPT or DINO, a checkpoint of this bundle, ``model.pt``, ``patch_encoder.pt``, or None.
        device: where it goes.
        compiled: ``torch.compile`` the backbone, in place (names of weights stay); needs a C++ compiler on a CPU.
        mask_missing: tokens that are missing are left out of attention; ``auto``: as the file's training had it, and
            without a file where tokens are missing.
        dataset: what it is trained on; None: no token is missing, and nothing is standardized.
        standardize_tokens: tokens go through :class:`~bundle.networks.TokenStandard` first; ``auto``: as the file's
            training had it, and without a file not.
        mask_weight: of the task of hidden tokens; above 0 there is a mask token, which files of weights have not.
        head: the encoder takes it for its own.

    Raises:
        BundleError: the file is missing or broken, its backbone is of another architecture, or it was trained with the
            other ``mask_missing`` or ``center_tokens``.
    """
    if head is not None:
        encoder.head = head
    has_missing = dataset is not None and dataset.has_missing
    encoder.mask_missing = has_missing if mask_missing == "auto" else as_bool(mask_missing)
    if weights is None and standardize_tokens != "auto" and as_bool(standardize_tokens):
        if dataset is None:
            raise BundleError("standardize_tokens is true, and there are no tokens to do it by.")
        encoder.backbone.standard = TokenStandard(*dataset.statistics())
    if weights is not None:
        parts = load_encoder(encoder, weights)
        _check_masking(encoder, parts.mask_missing, mask_missing, weights)
        _check_standard(encoder, standardize_tokens, weights)
        _check_centering(encoder, parts.takes_centered, weights)
        warn_of_missing_background(weights, not has_missing)
        if parts.last_layer:
            _load_if_it_fits(last_layer, parts.last_layer, weights, "last layer")
            nn.init.ones_(last_layer.weight_g)
    if as_bool(compiled):
        compile_backbone(encoder, device)
    return Distiller(encoder, last_layer, as_number(mask_weight, "mask_weight", low=0) > 0).to(device)


def _check_masking(encoder: Encoder, as_trained: bool, wanted: bool | str, path: str | Path) -> None:
    if wanted != "auto" and encoder.mask_missing != as_trained:
        how = ("looking at all tokens, missing ones as zeros", "leaving missing tokens out")
        raise BundleError(
            f"{path} was trained {how[as_trained]}, and mask_missing is {encoder.mask_missing}: what it has learned "
            f"would mean nothing. Set mask_missing to auto or {as_trained}, or start without these weights."
        )
    encoder.mask_missing = as_trained


def _check_standard(encoder: Encoder, wanted: bool | str, path: str | Path) -> None:
    if wanted == "auto":
        return
    has = getattr(encoder.backbone, "standard", None) is not None
    if as_bool(wanted) != has:
        how = "tokens as they are", "standardized tokens"
        raise BundleError(
            f"{path} was trained with {how[has]}, and standardize_tokens is {wanted}: what it has learned would mean "
            f"nothing. Set standardize_tokens to auto or {has}, or start without these weights."
        )


def _check_centering(encoder: Encoder, as_trained: bool, path: str | Path) -> None:
    if encoder.takes_centered != as_trained:
        raise BundleError(
            f"{path} was trained on tokens {('as they are', 'less the mean of their slide')[as_trained]}, and "
            f"center_tokens is {('null', 'slide')[encoder.takes_centered]}: set it to {('null', 'slide')[as_trained]}, "
            "or start without these weights."
        )


def warn_of_missing_background(weights: str | Path | None, has_background: bool) -> None:
    """Warn where published weights meet tokens of another kind.

    HIPT's region encoder was trained on regions whose background was encoded, too; its file is told from this
    bundle's by the arguments of the training script in it.

    Args:
        weights: file that training starts from, or None.
        has_background: the tokens hold encoded background.
    """
    if weights is not None and not has_background and "args" in read_weights(weights):
        _log.warning(
            "%s has seen encoded background in training, these tokens hold zeros there: tokenize with "
            "--encode_background true to match it",
            weights,
        )


def load_encoder(encoder: Encoder, path: str | Path) -> EncoderWeights:
    """Load a file into an encoder: the backbone strictly, the head where the file has one of the same shape.

    Args:
        encoder: what to load into.
        path: any file that :func:`~bundle.networks.read_encoder` understands.

    Returns:
        What the file holds, with the last layer if it has one.

    Raises:
        BundleError: the file is missing or broken, its backbone is of another architecture, or the head beside it is
            another encoder's.
    """
    parts = read_encoder(path)[1]
    if isinstance(encoder.backbone, RegionViT):
        encoder.backbone.has_standard_of(parts.backbone)
    load_into(encoder.backbone, parts.backbone, source=path)
    if parts.head and encoder.head is not None:
        _load_if_it_fits(encoder.head, parts.head, path, "projection head")
    elif encoder.head is not None:
        _log.warning("%s: it stays as it was initialized", missing_head(path, parts.head_sha256))
    return parts


def load_region_encoder(
    path: str | Path,
    *,
    n_heads: int | None = None,
    device: torch.device | str = "cpu",
    takes_centered: bool = False,
    with_head: bool = True,
) -> Encoder:
    """A region encoder of whatever size the file holds, with its projection head, in evaluation mode.

    Args:
        path: ``models/model.pt``, with ``model_head.pt`` beside it; a checkpoint of this bundle, or HIPT's
            ``vit4k_xs_dino.pth``. Where there is no head, the encoder has none, and a warning says so.
        n_heads: attention heads, which shapes do not tell; None: as the ``.json`` beside the file says, or the file,
            else one per 32 values, as published.
        device: where it goes.
        takes_centered: who asks looks at the encoder's ``takes_centered``, and centers tokens where it is true.
        with_head: False: without its head, wherever that lies; it only embeds.

    Raises:
        BundleError: the file is missing or broken, or holds no region encoder; the head beside it is another
            encoder's; it takes centered tokens, and who asks has none.
    """
    contents, parts = read_encoder(path, with_head)
    backbone = _backbone_of(contents, parts, path, n_heads)
    if parts.takes_centered and not takes_centered:
        raise BundleError(
            f"{path} was trained on tokens less the mean of their slide (center_tokens: slide), which is known here "
            "only when the whole slide has been read: embed slides with configs/inference.yaml, or give weights of "
            "tokens as they are."
        )
    head = None
    if with_head and parts.head:
        head = _head_of(parts.head, backbone.dim, path)
    elif with_head:
        _log.warning("%s: it gives embeddings, and no prototypes", missing_head(path, parts.head_sha256))
    made = Encoder(backbone, head, parts.mask_missing, "slide" if parts.takes_centered else None)
    made.head_sha256 = parts.head_sha256
    return made.to(device).eval()


def insist_on_head(encoder: Encoder, path: str | Path) -> None:
    """Raise where an encoder has no projection head, and prototypes are wanted.

    Args:
        encoder: what was loaded.
        path: its file.

    Raises:
        BundleError: it has none; what to do.
    """
    if encoder.head is not None:
        return
    todo = "copy that file there, too" if encoder.head_sha256 else "give weights that hold one, such as a model.pt"
    raise BundleError(
        f"{missing_head(path, encoder.head_sha256)}, and prototypes are made in the space of its head: {todo}."
    )


def _backbone_of(
    contents: Mapping[str, Any], parts: EncoderWeights, path: str | Path, n_heads: int | None
) -> RegionViT:
    found = infer_vit_architecture(parts.backbone, source=path)
    own = contents.get("architecture")
    if found.pop("kind") != "region":
        raise BundleError(
            f"{path} holds a patch encoder (pixels to tokens), not a region encoder (tokens to embeddings). "
            "Give it as patch_encoder_ckpt, and a file like models/model.pt as region_encoder_ckpt."
        )
    stated = read_about(path).get("n_heads") if n_heads is None else n_heads
    if stated is None and isinstance(own, dict):
        stated = own.get("n_heads")
    try:
        backbone = RegionViT(
            **{**found, "n_heads": found["n_heads"] if stated is None else as_whole(stated, "n_heads", 1)}
        )
    except (TypeError, ValueError, RuntimeError, ArithmeticError, MemoryError) as error:
        raise BundleError(
            f"{path}, or the .json beside it, describes no network that can be built ({error})."
        ) from error
    backbone.has_standard_of(parts.backbone)
    load_into(backbone, parts.backbone, source=path)
    return backbone


def _head_of(weights: Mapping[str, Tensor], in_dim: int, path: str | Path) -> ProjectionHead:
    try:
        head = ProjectionHead(in_dim, weights["mlp.0.weight"].shape[0], weights["mlp.4.weight"].shape[0])
    except KeyError as error:
        raise BundleError(f"{path} has a head without {error}: expected DINO's, of three linear layers.") from error
    load_into(head, weights, source=path)
    return head


def _load_if_it_fits(module: nn.Module, weights: Mapping[str, Tensor], path: str | Path, what: str) -> None:
    try:
        load_into(module, weights, source=path)
    except BundleError as error:
        _log.warning("the %s stays as it was initialized: %s", what, error)
