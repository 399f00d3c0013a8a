"""Embedding files in a folder, and whether slides may be compared."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..core import CONTRACT_ATTRIBUTES, BundleError, contract_difference, encoder_key, files_below
from .embedding_store import EMBEDDING_SUFFIX

_SAME_MPP = 0.02


class Provenance(NamedTuple):
    """What must be the same for embeddings of two slides to be comparable.

    ``region_encoder`` and ``encoder`` (of patches) as files record them, ``mpp`` in um/px; ``contract``: how patches
    were prepared, None where nobody knows.
    """

    region_encoder: str
    encoder: str
    mpp: float
    contract: dict[str, Any] | None = None

    @classmethod
    def of(cls, attributes: Mapping[str, Any]) -> Provenance:
        """From a file's attributes; what it does not record is empty, or 0."""
        region_encoder, encoder = (str(attributes.get(name, "")) for name in ("region_encoder", "encoder"))
        contract = {name: attributes[name] for name in CONTRACT_ATTRIBUTES if name in attributes}
        try:
            mpp = float(attributes.get("mpp", 0.0))
        except (TypeError, ValueError, OverflowError) as error:
            found = attributes.get("mpp")
            raise BundleError(f"embeddings record mpp {found!r}, which is no um/px: run inference again.") from error
        return cls(region_encoder, encoder, mpp, contract or None)

    def difference(self, other: Provenance) -> str:
        """What keeps the two from being compared, in words; empty if nothing does. Weights count, not file names."""
        for what, mine, others in (
            ("region encoder", self.region_encoder, other.region_encoder),
            ("patch encoder", self.encoder, other.encoder),
        ):
            if encoder_key(mine) != encoder_key(others):
                return f"{what} {mine or 'unknown'} and {others or 'unknown'}"
        if abs(self.mpp - other.mpp) > _SAME_MPP * max(self.mpp, other.mpp):
            return f"resolution {self.mpp:g} and {other.mpp:g} um/px"
        if self.contract and other.contract and (differs := contract_difference(self.contract, other.contract)):
            return f"patches prepared with {differs[0]} and {differs[1]}"
        return ""


def embeddings_root(folder: str | Path) -> Path:
    """Where :func:`find_embeddings` looks: of inference's ``output_dir`` its ``embeddings``, else the folder itself."""
    inside = Path(folder) / "embeddings"
    return inside if inside.is_dir() else Path(folder)


def find_embeddings(folder: str | Path) -> list[Path]:
    """Embedding files below a folder, sorted; a single file is allowed.

    Of inference's ``output_dir`` those in its ``embeddings``, without its tokens.

    Raises:
        BundleError: there is no such folder, no file in it, or two of the same name.
    """
    root = Path(folder)
    if root.is_file():
        return [root]
    root = embeddings_root(root)
    if not root.is_dir():
        raise BundleError(f"{root} does not exist: give the folder of embeddings that configs/inference.yaml wrote.")
    found = [path for path in files_below(root, (EMBEDDING_SUFFIX,)) if path.suffix == EMBEDDING_SUFFIX]
    if not found:
        raise BundleError(
            f"no embeddings (*{EMBEDDING_SUFFIX}) in {root}: run configs/inference.yaml, or give the folder it wrote."
        )
    first: dict[str, Path] = {}
    for path in found:
        if first.setdefault(path.stem, path) is not path:
            raise BundleError(f"slide {path.stem} stands twice in {root} ({first[path.stem]}, {path}); keep one.")
    return found
