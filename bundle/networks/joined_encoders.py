"""Several patch encoders on the same patches: a token is what one gives, and behind it what the next one gives."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..core import SettingError
from .contracts import EncoderContract
from .patch_tokenizer import PatchTokenizer


@dataclass(frozen=True)
class JoinedContract(EncoderContract):
    """Contracts of several encoders whose tokens are joined; only ``parts`` says how pixels are prepared.

    Attributes:
        parts: one an encoder, in the order of their tokens.
    """

    parts: tuple[EncoderContract, ...] = ()

    @classmethod
    def of(cls, parts: Sequence[EncoderContract], dim: int) -> JoinedContract:
        """The contract of tokens of ``dim`` values together."""
        return cls("+".join(part.name for part in parts), output="joined", dim=dim, parts=tuple(parts))

    def at(self, patch_size: int) -> JoinedContract:
        """Each part at ``patch_size`` px."""
        return replace(self, parts=tuple(part.at(patch_size) for part in self.parts))

    @property
    def fingerprint(self) -> str:
        """Short SHA-256 of the parts' fingerprints, in their order."""
        return hashlib.sha256(" ".join(part.fingerprint for part in self.parts).encode()).hexdigest()[:16]

    def record(self, patch_size: int) -> dict[str, Any]:
        """What files record: the joint fingerprint; of each part, in its order, its own and what it stands for."""
        records = [part.record(patch_size) for part in self.parts]
        told: dict[str, Any] = {"encoder_contract": self.at(patch_size).fingerprint, "encoder_output": "joined"}
        for name in ("patch_mean", "patch_std", "patch_input_px"):
            values = [record.get(name, []) for record in records]
            told[name] = sum((value if isinstance(value, list) else [value] for value in values), [])
        for name in ("encoder_contract", "patch_resize_px", "patch_interpolation", "encoder_output", "encoder_mpp"):
            told[f"{name}_parts"] = "; ".join(str(record.get(name, "none")) for record in records)
        return told


class JoinedEncoders(nn.Module):
    """Frozen patch encoders side by side, each with its own pixels; patches are read and brought to the device once.

    Token files name them all, with the hash of each one's weights; the hash of all tells them from other files.

    Args:
        encoders: at least two, on one device.

    Attributes:
        parts: name, hash and length of each, for files.

    Raises:
        SettingError: fewer, or one of them twice.
    """

    def __init__(self, encoders: Sequence[PatchTokenizer]) -> None:
        super().__init__()
        known = [(encoder.sha256, encoder.contract) for encoder in encoders]
        if len(encoders) < 2 or any(pair in known[:i] for i, pair in enumerate(known) if pair[0]):
            names = ", ".join(f"{encoder.name} {encoder.sha256[:12]}" for encoder in encoders) or "none"
            raise SettingError(f"patch encoders are joined that differ: got {names}. Name another second_encoder_ckpt.")
        self.encoders = nn.ModuleList(encoders)
        self.dim = sum(encoder.dim for encoder in encoders)
        self.contract = JoinedContract.of([encoder.contract for encoder in encoders], self.dim)
        self.name = "+".join(encoder.name for encoder in encoders)
        self.sha256 = hashlib.sha256(" ".join(encoder.sha256 for encoder in encoders).encode()).hexdigest()
        self.amp = any(encoder.amp for encoder in encoders)
        self.parts = "; ".join(f"{one.name} sha256:{one.sha256} D={one.dim}" for one in encoders)

    @torch.inference_mode()
    def forward(self, image: Tensor) -> Tensor:
        """Pixels in [0, 255], uint8 (B, 3, p, p), -> tokens, float32 (B, D1 + D2 + ...), on the encoders' device."""
        first: PatchTokenizer = self.encoders[0]  # type: ignore[assignment]
        image = image.to(first.mean_255.device, non_blocking=True)
        return torch.cat([encoder(image) for encoder in self.encoders], 1)

    def train(self, mode: bool = True) -> JoinedEncoders:
        """Stays in evaluation mode: they are frozen."""
        return super().train(False)
