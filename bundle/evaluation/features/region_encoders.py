"""Several region encoders as one network, so that tokens are read once for all of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...core import BundleError, as_bool
from ...networks import (
    Encoder,
    TokenKind,
    insist_on_head,
    load_region_encoder,
    read_about,
    read_pretraining,
    sha256_of,
    untrained_encoder,
)

TOKENS = "tokens"  # what methods without a region encoder are called
UNTRAINED = "untrained"  # and those of one that has learned nothing


class RegionEncoders(nn.Module):
    """Token grids (B, D, H, W) to the embedding and the projection of each encoder, side by side in one (B, sum).

    Args:
        encoders: by the name that results will have.
        hashes: SHA-256 of the weights of each.
        pretraining: slides that each was trained on; None where unknown.

    Attributes:
        names: of the encoders, in the order of the output.
    """

    def __init__(
        self,
        encoders: Mapping[str, Encoder],
        hashes: Mapping[str, str],
        pretraining: Mapping[str, list[str] | None] | None = None,
    ) -> None:
        super().__init__()
        self.names = list(encoders)
        self.encoders = nn.ModuleList(encoders.values())
        self._widths = [width for encoder in encoders.values() for width in _widths(encoder)]
        self.hashes = {name: hashes[name] for name in self.names}
        self.pretraining = {name: (pretraining or {}).get(name) for name in self.names}

    @property
    def centered(self) -> set[str]:
        """Names of those that take tokens less the mean of their slide."""
        return {name for name, encoder in zip(self.names, self.encoders, strict=True) if encoder.takes_centered}

    @classmethod
    def load(
        cls,
        paths: Mapping[str, str | Path] | None,
        token_dim: int,
        device: torch.device | str = "cpu",
        untrained: bool = False,
        seed: int = 0,
        tokens: Mapping[str, Any] | None = None,
        allow_other_tokens: bool = False,
    ) -> RegionEncoders:
        """Read each file.

        Args:
            paths: file by name, see :func:`bundle.networks.load_region_encoder`; None or empty: no encoder.
            token_dim: length of the tokens that are at hand.
            device: where to compute.
            untrained: add "untrained": an encoder of the first one's sizes with weights drawn at random.
            seed: of those weights.
            tokens: of which kind they are, see :attr:`~bundle.storage.TokenDataset.kind`; None: nobody knows.
            allow_other_tokens: only warn where an encoder was trained on tokens of another kind.

        Raises:
            BundleError: no dictionary of names; a file is missing, broken, or made for tokens of another length or
                kind, or without a projection head; there is no encoder for an untrained one to be like.
        """
        if paths is not None and (not isinstance(paths, Mapping) or not all(paths.values())):
            raise BundleError(
                f"encoders is {paths!r}; give a name and a file for each, such as \"{{'SLPD': 'models/model.pt'}}\"."
            )
        encoders = {}
        for name, path in (paths or {}).items():
            if str(name) == TOKENS:
                raise BundleError(f"an encoder is called {TOKENS!r}, as results without one are; choose another name.")
            encoder = load_region_encoder(path, device=device, takes_centered=True)
            insist_on_head(encoder, path)
            expected = encoder.state_dict()["backbone.phi.0.weight"].shape[1]
            if expected != token_dim:
                raise BundleError(
                    f"the encoder {name} ({path}) takes tokens of length {expected}, those of dataset_dir have "
                    f"{token_dim}: tokenize with the patch encoder it was trained with, or give another encoder."
                )
            TokenKind(path, read_about(path), allow_other_tokens).insist(tokens or {}, "dataset_dir")
            encoders[str(name)] = encoder
        files = {str(name): path for name, path in (paths or {}).items()}
        hashes = {name: sha256_of(path) for name, path in files.items()}
        seen = {name: read_pretraining(path) for name, path in files.items()}
        if as_bool(untrained):
            if UNTRAINED in encoders or not encoders:
                raise BundleError(
                    f"untrained is true, and encoders is {paths!r}: give at least one, whose sizes an untrained one "
                    f"takes, and none called {UNTRAINED!r}; dataset_dir must hold token files, not embeddings."
                )
            made = encoders[UNTRAINED] = untrained_encoder(next(iter(encoders.values())), seed)
            hashes[UNTRAINED], seen[UNTRAINED] = _hash_of(made), []
        return cls(encoders, hashes, seen)

    def only(self, names: list[str]) -> RegionEncoders:
        """Some of them, with the same weights in memory."""
        chosen = {n: e for n, e in zip(self.names, self.encoders, strict=True) if n in names}
        return RegionEncoders(chosen, self.hashes, self.pretraining)  # type: ignore[arg-type]

    def forward(self, image: Tensor, mask: Tensor | None = None) -> Tensor:
        """Token grids (B, D, H, W) -> (B, sum of widths): embedding and projection of the first, of the second, ...

        ``mask``, bool (B, H, W), says which tokens are there.
        """
        parts = []
        for encoder in self.encoders:
            embedding = encoder(image, mask)
            parts += [embedding, encoder.project_embedding(embedding)]  # type: ignore[operator]
        return torch.cat(parts, 1) if parts else image.new_zeros(len(image), 0)

    def split(self, output: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """What ``forward`` gave, as embedding (B, dim) and projection (B, d) by name."""
        parts = output.split(self._widths, 1)
        return {name: (parts[2 * i], parts[2 * i + 1]) for i, name in enumerate(self.names)}


def _hash_of(encoder: Encoder) -> str:
    """Hash of its weights, by which its embeddings are kept."""
    digest = hashlib.sha256(repr(encoder.backbone.architecture).encode())  # heads leave no trace in weights
    for name, values in encoder.state_dict().items():
        digest.update(f"{name} {tuple(values.shape)}".encode() + values.cpu().numpy().tobytes())
    return digest.hexdigest()


def _widths(encoder: Encoder) -> tuple[int, int]:
    state = encoder.state_dict()
    return state["backbone.cls_token"].shape[-1], state["head.mlp.4.weight"].shape[0]
