"""Which model of the registry features come from, by the name that a tool has for it."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from typing import Any

from ...core import SettingError, SlideError
from ...networks import EncoderContract, mpp_misfit, registry
from .layouts.h5_patches import folder_encoder
from .layouts.layout import FeatureFile

logger = logging.getLogger(__name__)
_TRIDENT = {
    **{name: name for name in ("virchow", "virchow2", "h0-mini", "phikon", "openmidnight", "gpfm", "genbio-pathfm")},
    **{f"kaiko-vit{size}": f"kaiko-{size}" for size in ("s8", "s16", "b8", "b16", "l14")},
    "uni_v1": "uni", "uni_v2": "uni2-h", "gigapath": "prov-gigapath", "hoptimus0": "h-optimus-0",
    "hoptimus1": "h-optimus-1", "phikon_v2": "phikon-v2", "hibou_l": "hibou-l", "lunit-vits8": "lunit-vits8",
    "conch_v1": "conch", "conch_v15": "conch-v1.5", "resnet50": "resnet50-imagenet", "ctranspath": "ctranspath",
    "keep": "keep",
}  # fmt: skip
# Names in files, as trident's encoder_factory, atlas_patch/models/patch, stamp/preprocessing/config.py and
# slide2vec/encoders/models have them (2026). Left out are names of another output than a contract's, such as virchow2
# of STAMP (the class token alone), h0_mini of AtlasPatch, midnight12k of TRIDENT and musk.
_NAMES: dict[str, dict[str, str]] = {
    "TRIDENT": _TRIDENT,
    "AtlasPatch": {
        "uni_v1": "uni", "uni_v2": "uni2-h", "prov_gigapath": "prov-gigapath", "virchow_v1": "virchow",
        "virchow_v2": "virchow2", "h_optimus_0": "h-optimus-0", "h_optimus_1": "h-optimus-1", "phikon_v1": "phikon",
        "phikon_v2": "phikon-v2", "hibou_b": "hibou-b", "hibou_l": "hibou-l", "midnight": "midnight",
        "openmidnight": "openmidnight", "conch_v1": "conch", "conch_v15": "conch-v1.5", "dinov2_small": "dinov2-s",
        "dinov2_base": "dinov2-b", "lunit_vit_small_patch8_dino": "lunit-vits8",
        "lunit_vit_small_patch16_dino": "lunit-vits16",
    },
    "STAMP": {
        "uni": "uni", "uni2": "uni2-h", "gigapath": "prov-gigapath", "h-optimus-0": "h-optimus-0",
        "h-optimus-1": "h-optimus-1", "virchow-full": "virchow", "conch": "conch", "conch1_5": "conch-v1.5",
        "ctranspath": "ctranspath", "keep": "keep",
    },
    "slide2vec": {
        **{name: name for name in ("uni", "h-optimus-0", "h-optimus-1", "phikon", "hibou-b", "hibou-l", "midnight")},
        **{name: name for name in ("gpfm", "genbio-pathfm", "conch", "virchow", "virchow2", "h0-mini")},
        "uni2": "uni2-h", "gigapath": "prov-gigapath", "phikonv2": "phikon-v2", "conchv15": "conch-v1.5",
        "lunit": "lunit-vits8", "dinov2-vitb14": "dinov2-b",
    },
    "wsidata": {},
}  # fmt: skip
# these tools give one of several outputs under one name: with another length they are features of no contract
_SEVERAL = {"slide2vec": ("virchow", "virchow2", "h0-mini")}
# whose transforms are those of the contracts; others scale and normalize in ways of their own
_PREPARES_ALIKE = ("TRIDENT",)


class KnownEncoders:
    """Contracts by the names that stand in files of features.

    Args:
        encoders_file: YAML with further models, see :func:`~bundle.networks.registry`.
    """

    def __init__(self, encoders_file: str | Path | None = None) -> None:
        self._known = registry(encoders_file)
        self._plain = {_plain(name): name for name in self._known}

    def contract(self, encoder: str, layout: str, dim: int, file: FeatureFile) -> EncoderContract | None:
        """That of the model which a layout's files call ``encoder``; None where it is not in the registry.

        Files of layouts that have no names of their own (CLAM, HIPT, plain ones) are taken by the registry's.

        Raises:
            SlideError: that model's tokens have another length than ``dim``; both are named.
        """
        names = _NAMES.get("TRIDENT" if folder_encoder(file.path) == encoder else layout)
        found = self._plain.get(_plain(encoder)) if names is None else names.get(encoder)
        contract = None if found is None else self._known[found]
        if contract is None or contract.dim in (None, dim):
            return contract
        if encoder in _SEVERAL.get(layout, ()):
            return None
        raise SlideError(
            f"slide {file.slide_id}: {file.path} has features of D = {dim} and says they are of {encoder}, which is "
            f"{contract.name}, with D = {contract.dim}: they are of another model, or another output of it. Encode the "
            "slide again or, where the name is yours, give another one (--encoder)."
        )


def recorded_contract(contract: EncoderContract | None, layout: str, patch_px: int) -> dict[str, Any]:
    """What token files record of a model: its name and, where its tool prepares pixels so, its contract.

    Args:
        contract: the model's, if it is known.
        layout: whose files they are.
        patch_px: px on a side of the encoded patches.
    """
    if contract is None:
        return {}
    is_known = layout in _PREPARES_ALIKE and contract.interpolation is not None  # else its transform is not known
    return {"encoder_model": contract.name, **(contract.record(patch_px) if is_known else {})}


def warn_of_mpp(contract: EncoderContract | None, patch_px: int, mpp: float) -> None:
    """Say where features were made at um/px outside the range of their encoder's training.

    Args:
        contract: of the encoder, if it is known.
        patch_px: px on a side of the encoded patches.
        mpp: um/px at which they were read.
    """
    if contract is None:
        return
    with contextlib.suppress(SettingError):  # nobody has said how it scales patches
        misfit = mpp_misfit(contract, patch_px, mpp)
        if misfit is not None:
            logger.warning("%s: these features may be worse than the encoder's best", misfit.text)


def _plain(name: str) -> str:
    return name.strip().lower().replace("_", "-")
