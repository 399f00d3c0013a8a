"""A patch encoder as a config's ids state it, and read as its weights say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from ..core import as_bool
from .contract_choice import contract_of
from .contracts import EncoderContract
from .patch_encoder import load_patch_encoder
from .patch_tokenizer import PatchTokenizer
from .stated_reading import StatedReading


def stated_patch_encoder(
    patch_encoder_ckpt: str | Path,
    reading: StatedReading,
    patch_encoder: str | None = None,
    encoders_file: str | Path | None = None,
    patch_mean: Sequence[float] | None = None,
    patch_std: Sequence[float] | None = None,
    patch_input_px: int | None = None,
    device: torch.device | str = "cpu",
    amp: bool = False,
    compile: bool = False,
) -> PatchTokenizer:
    """:func:`~bundle.networks.load_patch_encoder` with the ids of ``configs/tokenize.yaml``.

    Args:
        patch_encoder_ckpt: file or folder of the weights.
        reading: size and um/px of the patches.
        patch_encoder, encoders_file, patch_mean, patch_std, patch_input_px, device, amp, compile: see that config.

    Raises:
        BundleError: as it does; a program is to be compiled.
    """
    own = load_patch_encoder(
        patch_encoder_ckpt,
        reading.patch_size,
        encoder=patch_encoder,
        encoders_file=encoders_file,
        mean=patch_mean,
        std=patch_std,
        input_px=patch_input_px,
        mpp=reading.mpp,
        device=device,
        amp=amp,
    )
    return own.compiled() if as_bool(compile) else own


def stated_contract(
    patch_encoder_ckpt: str | Path,
    reading: StatedReading,
    patch_encoder: str | None = None,
    encoders_file: str | Path | None = None,
    patch_mean: Sequence[float] | None = None,
    patch_std: Sequence[float] | None = None,
    patch_input_px: int | None = None,
) -> EncoderContract:
    """The contract of :func:`stated_patch_encoder`, without making the network; its arguments.

    Raises:
        BundleError: as :func:`~bundle.networks.contract_of` does.
    """
    return contract_of(
        patch_encoder_ckpt,
        reading.patch_size,
        encoder=patch_encoder,
        encoders_file=encoders_file,
        mean=patch_mean,
        std=patch_std,
        input_px=patch_input_px,
    )
