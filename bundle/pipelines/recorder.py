"""From the regions of a slide to its record: prototypes, mean, where everything comes from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..cohort import fingerprint_of
from ..core import CONTRACT_ATTRIBUTES, BundleError, as_bool, as_whole, contract_difference, encoder_key, readable
from ..networks import RegionDescriber, TokenKind, read_about, warn_of_missing_background, weights_name
from ..prototypes import slide_prototypes
from ..storage import SlideEmbeddings, TokenFile, TokenHeader
from .jobs import SlideJob

_PROCEDURE = 1  # counts up when the same settings come to give other numbers
_NEEDED = (
    "level0_mpp", "level0_width", "level0_height", "region_size_level0", "region_size_px", "patch_size_px",
)  # fmt: skip
_ENCODERS = {"encoder": "patch encoder", "region_encoder": "region encoder"}
_OF_THE_TOKEN_FILE = ("slide_id", "format_version", "bundle_version", "dtype")


class SlideRecorder:
    """Makes a slide's :class:`SlideEmbeddings`, and tells whether one that is there is still good.

    Args:
        weights: file of the region encoder.
        n_prototypes: K; fewer where a slide has fewer distinct regions.
        min_regions: a slide with fewer regions has no prototypes.
        seed: of K-means; each slide's random numbers are keyed by its id, so that other slides change nothing.
        allow_other_tokens: tokens of another kind than the weights were trained on are only warned of.
    """

    def __init__(
        self,
        weights: str | Path,
        n_prototypes: int = 4,
        min_regions: int = 1,
        *,
        seed: int = 0,
        allow_other_tokens: bool = False,
    ) -> None:
        self.weights, self._allows_others = Path(weights), as_bool(allow_other_tokens)
        self._kind = TokenKind(weights, {})
        self._has_warned = False
        self.settings: dict[str, Any] = {
            "n_prototypes_wanted": as_whole(n_prototypes, "n_prototypes", 1),
            "min_regions": as_whole(min_regions, "min_regions", 1),
            "seed": as_whole(seed, "seed"),
        }

    def identify(self, network: RegionDescriber) -> None:
        """Read which weights these are, and how the network runs.

        Raises:
            BundleError: there is no such file.
        """
        if not self.weights.is_file():
            raise BundleError(
                f"there is no region encoder at {self.weights}: train one (python -m monai.bundle run training "
                "--config_file configs/train.yaml), or give a file like models/model.pt, or HIPT's vit4k_xs_dino.pth, "
                "as region_encoder_ckpt."
            )
        self.settings |= {"has_attention": network.attends, "embedding_amp": network.amp}
        self.settings["region_encoder"] = weights_name(self.weights)
        if network.encoder.mask_missing:
            self.settings["mask_missing"] = True
        if network.encoder.takes_centered:
            self.settings["center_tokens"] = "slide"
        self._kind = TokenKind(self.weights, read_about(self.weights), self._allows_others)

    @property
    def settings_key(self) -> str:
        """Hash of all that is done to tokens. A file of the weights may change its name."""
        named = {**self.settings, "region_encoder": encoder_key(self.settings["region_encoder"])}
        return _hash(json.dumps([_PROCEDURE, named], sort_keys=True))

    def attributes(self, job: SlideJob, file: TokenFile) -> dict[str, Any]:
        """What the slide's file will record beside its arrays; of the same tokens and settings the same.

        Raises:
            BundleError: the token file does not say where its regions lie; its tokens are not of the kind that the
                weights were trained on.
        """
        self._insist_on_tokens(file.header)
        tokens = file.header.attributes
        missing = [name for name in _NEEDED if name not in tokens]
        if missing:
            raise BundleError(f"{file.path} does not record {', '.join(missing)}; tokenize the slide again.")
        kept = {name: value for name, value in tokens.items() if name not in _OF_THE_TOKEN_FILE}
        kept = {"slide_path": readable(job.ref.path.name), "reader": "", **kept, **self.settings}
        if job.is_derived:
            kept["slide_bytes"] = job.ref.path.stat().st_size
        return {**kept, "settings_key": self.settings_key, "source_key": _source_key(file)}

    def insist_on_kind(self, tokens: Mapping[str, Any]) -> None:
        """Before a slide is opened: the tokens that this run would make are such as the weights were trained on.

        Args:
            tokens: what they would record, see :meth:`TokenSink.kind`.

        Raises:
            BundleError: they are of another kind.
        """
        self._kind.insist(tokens, "this run")

    def _insist_on_tokens(self, header: TokenHeader) -> None:
        own = {"encoder": header.encoder, "mpp": header.mpp, "region_patches": header.region_patches}
        self._kind.insist({**header.attributes, **own}, header.path.name)
        if not self._kind.about and not self._has_warned:
            warn_of_missing_background(self.weights, bool(header.attributes.get("encode_background", False)))
            self._has_warned = True

    def change(self, header: Mapping[str, Any], wanted: Mapping[str, Any] | None = None) -> str:
        """Why embeddings have to be made anew, in words; empty where they are what this run would make.

        Args:
            header: of the embeddings.
            wanted: what their tokens would record, as far as it is known: of a slide without tokens, see
                :meth:`TokenSink.kind`.
        """
        others = _differences(header, wanted or {})
        if header.get("settings_key") != self.settings_key:
            others += _differences(header, self.settings) or ["another version of the bundle made it"]
        return ", ".join(others)

    def make(self, job: SlideJob, arrays: Mapping[str, NDArray[np.float32]]) -> SlideEmbeddings:
        """The record of a slide of which every row has arrived.

        Args:
            job: the slide.
            arrays: ``pred`` [R, dim], ``projection`` [R, d] and, where it was asked for, ``attention`` [R, H, P, P].

        Raises:
            BundleError: an embedding is not finite.
        """
        if not all(np.isfinite(values).all() for values in arrays.values()):
            raise BundleError(
                "its embeddings are not finite: the region encoder's weights have diverged, or the token file is "
                "damaged; turn amp off, or give another region_encoder_ckpt."
            )
        features, projection = arrays["pred"], arrays["projection"]
        prototypes, assignment = self._prototypes(projection, job.slide_id)
        attention = arrays.get("attention")
        return SlideEmbeddings(
            slide_id=job.slide_id,
            features=features,
            projection=projection,
            coords=job.coords,
            mask=job.mask,
            slide_embedding=features.mean(0, dtype=np.float64).astype(np.float32),
            prototypes=prototypes,
            assignment=assignment,
            attention=None if attention is None else attention.astype(np.float16),
            attributes={**job.attributes, "n_regions": len(features), "n_prototypes": len(prototypes)},
        )

    def _prototypes(
        self, projection: NDArray[np.float32], slide_id: str
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        wanted = self.settings["n_prototypes_wanted"] if len(projection) >= self.settings["min_regions"] else 0
        points = torch.from_numpy(projection)
        prototypes, assignment = slide_prototypes(points, slide_id, wanted, self.settings["seed"])
        return prototypes.numpy(), assignment.numpy()


def _differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    others = []
    differs = contract_difference(found, wanted) if "encoder_contract" in wanted else None
    others += [] if differs is None else [f"its patches were prepared with {differs[0]} and would be with {differs[1]}"]
    for name, value in wanted.items():
        if name in CONTRACT_ATTRIBUTES:
            continue
        if name in _ENCODERS:
            is_same = encoder_key(str(found.get(name, ""))) == encoder_key(str(value))
            others += [] if is_same else [f"another {_ENCODERS[name]} made it"]
        elif found.get(name) != value:
            others.append(f"{name} was {found.get(name, 'not recorded')} and is {value}")
    return others


def _source_key(file: TokenFile) -> str:
    """Hash of where the regions lie, how their tokens were made, and the tokens of the region with the most tissue."""
    kept = {name: value for name, value in file.header.attributes.items() if name not in ("bundle_version", "reader")}
    fullest = int(file.mask.sum((1, 2)).argmax())
    text = json.dumps(kept, sort_keys=True, default=str) + fingerprint_of(file.read([fullest])[0])
    return _hash(text.encode() + file.coords.tobytes() + file.mask.tobytes())


def _hash(contents: str | bytes) -> str:
    return hashlib.sha256(contents.encode() if isinstance(contents, str) else contents).hexdigest()[:16]
