"""How slides are read for weights: as their own records say, unless a user says it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, NamedTuple

from ..core import BundleError
from .contract_choice import known_contract
from .pretraining import read_about

_log = logging.getLogger(__name__)
STANDARD_READING = {"mpp": 0.5, "patch_size": 256, "region_patches": 16, "encode_background": False}
_UNITS = {"mpp": "um/px", "patch_size": "px a patch", "region_patches": "patches a side", "encode_background": ""}


class StatedReading(NamedTuple):
    """What decides what a token is of: see :class:`~bundle.slides.ReadSettings`; values as given, or as weights say."""

    mpp: Any
    patch_size: Any
    region_patches: Any
    encode_background: Any

    @classmethod
    def of(
        cls,
        region_encoder_ckpt: str | Path | None = None,
        patch_encoder_ckpt: str | Path | None = None,
        *,
        patch_encoder: str | None = None,
        encoders_file: str | Path | None = None,
        mpp: float | None = None,
        patch_size: int | None = None,
        region_patches: int | None = None,
        encode_background: bool | None = None,
    ) -> StatedReading:
        """Each value by the first that says it: the user, the region encoder, the patch encoder, the paper.

        The region encoder comes first, as its ``.json`` says which tokens it was trained on; a patch encoder may well
        be used beside the um/px of its training. Files that are missing or broken say nothing here: what loads them
        says what is wrong with them.

        Args:
            region_encoder_ckpt: file of weights with a ``.json`` beside it; None: tokens are of no region encoder yet.
            patch_encoder_ckpt: file or folder of weights.
            patch_encoder, encoders_file: see :class:`~bundle.networks.EncoderChoice`.
            mpp, patch_size, region_patches, encode_background: what the user says; None: nothing.
        """
        given = cls(mpp, patch_size, region_patches, encode_background)._asdict()
        found: dict[str, Any] = {name: value for name, value in given.items() if value not in (None, "")}
        said: dict[str, Any] = {}
        if set(STANDARD_READING) - set(found):
            said = _of_region_encoder(region_encoder_ckpt)
        if {"mpp", "patch_size"} - {*found, *said}:
            said = {**_of_patch_encoder(patch_encoder_ckpt, patch_encoder, encoders_file), **said}
        words = [
            f"{name} {said[name]} {unit}".strip()
            for name, unit in _UNITS.items()
            if name not in found and said.get(name, STANDARD_READING[name]) != STANDARD_READING[name]
        ]
        if words:
            _log.info("slides are read as the weights say: %s", ", ".join(words))
        return cls(**{**STANDARD_READING, **said, **found})


def _of_region_encoder(weights: str | Path | None) -> dict[str, Any]:
    """What the ``.json`` beside them says of the tokens of their training."""
    if weights is None or not Path(weights).is_file():
        return {}
    about = read_about(weights)
    return {name: about[name] for name in STANDARD_READING if about.get(name) is not None}


def _of_patch_encoder(path: str | Path | None, encoder: str | None, encoders_file: str | Path | None) -> dict[str, Any]:
    """Patches as stage one has seen them; of published encoders, whose patches may be scaled, um/px alone."""
    try:
        contract, is_own = (None, False) if path is None else known_contract(path, encoder, encoders_file)
    except BundleError:  # whoever loads the file says so; without one, tokens may still be there already
        return {}
    if contract is None:
        return {}
    said: dict[str, Any] = {}
    if contract.mpp is not None:
        low, high = contract.mpp
        said["mpp"] = min(max(STANDARD_READING["mpp"], low), high)
    if is_own and contract.input_px is not None:
        said["patch_size"] = contract.input_px
    return said
