"""What a bundle ships: backbone and projection in one scriptable network."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..cohort import centers_slides
from ..core import BundleError

MASK_MISSING = "mask_missing"  # of a state dict, beside the weights
CENTER_TOKENS = "center_tokens"  # the same; only of weights that take centered tokens
HEAD_SHA256 = "head_sha256"  # the same; only of weights without a head: 32 bytes, which head is theirs
_UNKNOWN = "0" * 64


class Encoder(nn.Module):
    """``forward`` embeds, ``project`` goes on to the bottleneck in which prototypes live.

    Its state dict holds ``backbone.*``, ``head.mlp.*`` and ``mask_missing``, so that whoever loads the weights masks as
    their training did. Weights without the latter are of a training without masks. Weights that were trained on
    centered tokens say ``center_tokens``, too. Without a head it is ``models/model.pt``: no ``head.mlp.*``, which lie
    in a file beside it, and ``head_sha256``, by which it knows them (:func:`~bundle.networks.save_encoder`); a state
    dict with a head loads all the same.

    Args:
        backbone: image -> [B, dim], takes ``mask`` and ``draws`` (:class:`~bundle.networks.RegionViT`).
        head: [B, dim] -> [B, d] of unit length (:class:`~bundle.networks.ProjectionHead`); None: it only embeds.
        mask_missing: leave tokens out that are missing. False: masks are not looked at, as by weights that were
            trained on dense grids, or with zeros for what is missing.
        center_tokens: "slide": tokens that it is given are less the mean of their slide, which is for those who read
            them to do (:class:`~bundle.storage.TokenFile`); None: tokens as they are.
    """

    def __init__(
        self,
        backbone: nn.Module,
        head: nn.Module | None = None,
        mask_missing: bool = False,
        center_tokens: str | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.mask_missing = mask_missing
        self.takes_centered = centers_slides(center_tokens)
        self.head_sha256 = ""  # where there is no head: which one is its own, if known

    def forward(self, image: Tensor, mask: Tensor | None = None) -> Tensor:
        """Images (B, C, H, W) -> embeddings (B, dim).

        Args:
            image: token grids, whatever stands where tokens are missing.
            mask: bool (B, H, W), tokens that are there; None: all.
        """
        return self.backbone(image, mask if self.mask_missing else None)

    @torch.jit.export
    def project(self, image: Tensor, mask: Tensor | None = None, draws: Tensor | None = None) -> Tensor:
        """Images (B, C, H, W) -> L2-normalized bottlenecks (B, d); ``draws``: stochastic depth (B, n_draws).

        Raises:
            BundleError: it has no head.
        """
        return self.project_embedding(self.backbone(image, mask if self.mask_missing else None, draws))

    @torch.jit.export
    def project_embedding(self, embedding: Tensor) -> Tensor:
        """What ``forward`` gave (B, dim) -> what ``project`` would have given (B, d)."""
        if self.head is None:
            raise BundleError(
                "this encoder has no projection head, in whose space prototypes live: it lies in a file of its own, "
                "model_head.pt beside model.pt; bundle.networks.load_region_encoder loads both."
            )
        return self.head(embedding)

    def embed_and_attend(self, image: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """``forward``, and where CLS looks, (B, heads, H, W): see ``encode_and_attend``. Not in TorchScript."""
        mask = mask if self.mask_missing else None
        return self.backbone.encode_and_attend(self.backbone.embed(image, mask), mask)  # type: ignore[operator]

    def attention(self, image: Tensor, mask: Tensor | None = None) -> Tensor:
        """The second of ``embed_and_attend``."""
        return self.embed_and_attend(image, mask)[1]

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + MASK_MISSING] = torch.tensor(self.mask_missing)
        if self.takes_centered:
            destination[prefix + CENTER_TOKENS] = torch.tensor(True)
        if self.head is None:
            destination[prefix + HEAD_SHA256] = hash_tensor(self.head_sha256)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *others: Any) -> None:
        self.mask_missing = bool(state_dict.get(prefix + MASK_MISSING, False))
        self.takes_centered = bool(state_dict.get(prefix + CENTER_TOKENS, False))
        self.head_sha256 = hash_text(state_dict.get(prefix + HEAD_SHA256))
        super()._load_from_state_dict(state_dict, prefix, *others)
        unexpected: list[str] = others[3]
        known = (prefix + MASK_MISSING, prefix + CENTER_TOKENS, prefix + HEAD_SHA256)
        of_head = prefix + "head."
        unexpected[:] = [
            name for name in unexpected if name not in known and not (self.head is None and name.startswith(of_head))
        ]


def hash_tensor(sha256: str) -> Tensor:
    """64 hexadecimal digits, or none, as 32 bytes: a state dict holds tensors alone."""
    return torch.tensor(list(bytes.fromhex(sha256 or _UNKNOWN)), dtype=torch.uint8)


def hash_text(tensor: Tensor | None) -> str:
    """The other way round; empty where there is none, or it is unknown (zeros)."""
    if tensor is None or tensor.dtype != torch.uint8 or tuple(tensor.shape) != (32,):
        return ""
    text = bytes(tensor.tolist()).hex()
    return "" if text == _UNKNOWN else text


def compile_backbone(encoder: Encoder, device: torch.device | str) -> None:
    """``torch.compile`` the backbone in place.

    On a CPU stochastic depth changes shapes in every step. On a GPU each kind of crops has one shape, and is compiled
    for it (some 10 s each, torch keeps the result on disk).
    """
    encoder.backbone.compile(dynamic=torch.device(device).type == "cpu")
