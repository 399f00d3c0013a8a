"""Whether tokens are of the kind that a region encoder was trained on; of others its embeddings mean nothing."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..core import BundleError, as_bool, encoder_key

_log = logging.getLogger(__name__)
_SHARE = 0.05  # by which scales of cohorts differ that are one scale; importing allows as much (mpp_tolerance)
_HASH = "sha256:"


class Misfit(NamedTuple):
    """What the weights say, what the tokens are, and whether the two are known to be of another kind."""

    name: str
    trained_on: str
    found: str
    is_certain: bool


def token_misfits(about: Mapping[str, Any], tokens: Mapping[str, Any]) -> list[Misfit]:
    """Compare what weights say of the tokens of their training with others; what one side does not say is left out.

    Uncertain are scales within 5 %, background that was encoded or not, and an encoder whose weights only one side
    names: features of other tools go by the model's name.

    Args:
        about: see :func:`~bundle.networks.read_about`.
        tokens: attributes of token files: ``encoder``, ``mpp``, ``patch_size_px``, ``region_patches``,
            ``encode_background``.
    """
    found = []
    said, other = str(about.get("patch_encoder", "")), str(tokens.get("encoder", ""))
    if said and other and encoder_key(said) != encoder_key(other):
        is_certain = (_HASH in said) == (_HASH in other)
        found.append(Misfit("patch encoder", f"tokens of {said}", f"those of {other}", is_certain))
    for name, recorded, words in (
        ("mpp", "mpp", "patches at {:g} um/px"),
        ("patch_size", "patch_size_px", "patches of {:g} px"),
        ("region_patches", "region_patches", "regions of {0:g} x {0:g} patches"),
    ):
        if about.get(name) is None or tokens.get(recorded) is None:
            continue
        one, two = float(about[name]), float(tokens[recorded])
        if one != two:
            is_certain = name == "region_patches" or abs(one - two) > _SHARE * one
            found.append(Misfit(name, words.format(one), words.format(two), is_certain))
    has, has_now = about.get("encode_background"), bool(tokens.get("encode_background", False))
    if has is not None and tokens and bool(has) != has_now:
        words = "tokens {} background"
        said, other = (words.format(("without", "with")[flag]) for flag in (bool(has), has_now))
        found.append(Misfit("encode_background", said, other, False))
    return found


class TokenKind:
    """Insists that tokens are as those that weights were trained on; says once what may be otherwise.

    Args:
        weights: the file, for messages.
        about: what it says, see :func:`~bundle.networks.read_about`.
        allow_others: only warn, also of tokens that are known to be of another kind.
    """

    def __init__(self, weights: str | Path, about: Mapping[str, Any], allow_others: bool = False) -> None:
        self.weights, self.about, self.allows_others = Path(weights), about, as_bool(allow_others)
        self._has_warned = False

    def insist(self, tokens: Mapping[str, Any], where: str) -> bool:
        """Compare tokens with those of the training.

        Args:
            tokens: see :func:`token_misfits`.
            where: whose they are: a file's name, or "this run".

        Returns:
            Whether there was nothing to say.

        Raises:
            BundleError: they are of another kind; what the weights say and what was found are named.
        """
        misfits = token_misfits(self.about, tokens)
        text = "; ".join(f"{one.trained_on}, and {where} has {one.found}" for one in misfits)
        if any(one.is_certain for one in misfits) and not self.allows_others:
            raise BundleError(
                f"{self.weights} was trained on {text}: its embeddings would mean nothing. {self._way_out(misfits)}"
            )
        if misfits and not self._has_warned:
            _log.warning("%s was trained on %s", self.weights.name, text)
            self._has_warned = True
        return not misfits

    def _way_out(self, misfits: list[Misfit]) -> str:
        settings = [f"--{one.name}" for one in misfits if one.is_certain and one.name != "patch encoder"]
        ways = [f"leave {' and '.join(settings)} out, which then is as the weights say, or make the tokens anew"]
        if len(settings) < sum(one.is_certain for one in misfits):
            ways = [f"give the patch encoder that is named first{', ' if settings else ''}"] + ways * bool(settings)
        return f"{' and '.join(ways).capitalize()}; --allow_other_tokens true goes on all the same."
