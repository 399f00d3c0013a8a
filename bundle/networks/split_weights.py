"""An encoder's weights in two files: the encoder, and beside it its projection head, which most who use it do without.

The encoder names its head by a hash, so that the SHA-256 of its file, by which embeddings know it, stands for both.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..core import BundleError, save_together
from .encoder import HEAD_SHA256, hash_tensor
from .selection import EncoderWeights, select_backbone
from .weights_reading import read_weights

_log = logging.getLogger(__name__)
_HEAD = "head."


def head_file(weights: str | Path) -> Path:
    """``models/model_head.pt`` for ``models/model.pt``."""
    path = Path(weights)
    return path.with_name(f"{path.stem}_head{path.suffix}")


def head_beside(weights: str | Path) -> Path | None:
    """The head's file, beside the weights or, where they are a link, beside what it leads to; None: there is none."""
    return next(filter(Path.is_file, map(head_file, (weights, Path(weights).resolve()))), None)


def split_state(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """An encoder's state dict as that of the encoder, which then says which head is its own, and of the head.

    Args:
        state: of an :class:`~bundle.networks.Encoder`; without ``head.*`` there is nothing to split.
    """
    head = {name: tensor for name, tensor in state.items() if name.startswith(_HEAD)}
    encoder = {name: tensor for name, tensor in state.items() if name not in head}
    if head:
        encoder[HEAD_SHA256] = hash_tensor(_hash_of(head))
    return encoder, head


def save_encoder(state: Mapping[str, Tensor], path: str | Path) -> None:
    """Write an encoder's state dict: its head into :func:`head_file`, all else to ``path``.

    Both are written before either takes its name, the head first: whatever dies in between, a head never passes for
    that of another encoder.

    Raises:
        BundleError: they cannot be written; what was there is intact then.
    """
    encoder, head = split_state(state)
    save_together(({head_file(path): head} if head else {}) | {Path(path): encoder})


def read_encoder(path: str | Path, with_head: bool = True) -> tuple[dict[str, Any], EncoderWeights]:
    """Read an encoder's file, and the head beside it where the file says that it has one there.

    Args:
        path: any file that :func:`~bundle.networks.select_backbone` understands.
        with_head: the head is wanted; where it is not, nothing beside the file is read.

    Returns:
        What the file at ``path`` holds, and its parts. No head among them: there is none.

    Raises:
        BundleError: a file is missing or broken, or the head is that of another encoder.
    """
    contents = read_weights(path)
    parts = select_backbone(contents, source=path)
    beside = head_beside(path) if with_head and not parts.head else None
    if beside is None:
        return contents, parts
    if not parts.head_sha256:
        _log.warning("%s does not say which projection head is its own: %s is not used", path, beside.name)
        return contents, parts
    return contents, parts._replace(head=_head_of(beside, parts.head_sha256, path))


def missing_head(path: str | Path, sha256: str) -> str:
    """What to say of an encoder without a head.

    Args:
        path: its file.
        sha256: which head is its own; empty: the file does not say.
    """
    if not sha256:
        return f"{path} has no projection head"
    return f"{path} has no projection head beside it ({head_file(path).name}, which was written with it)"


def _head_of(file: Path, sha256: str, encoder: str | Path) -> dict[str, Tensor]:
    held = {name: tensor for name, tensor in read_weights(file).items() if isinstance(tensor, Tensor)}
    if _hash_of(held) != sha256:
        raise BundleError(
            f"{file} holds another projection head than that of {encoder}: the two files were not written together, "
            "or a run was stopped between them. Copy both again, or let the run that wrote them end (--resume true)."
        )
    return {name.removeprefix(_HEAD): tensor for name, tensor in held.items()}


def _hash_of(head: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(head):
        tensor = head[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
