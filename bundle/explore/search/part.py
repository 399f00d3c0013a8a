"""Slides of an index as arrays, and those arrays as one file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save
from torch import Tensor

from ...core import BundleError
from ...storage import SlideEmbeddings, tissue_shares, typical_regions

_DIGEST = "sha256"  # of the arrays, in the file's own metadata; files of before have none
_Part = TypeVar("_Part", bound="_Arrays")


class MissingPartError(BundleError):
    """A file that the table of contents names is not there: the index is damaged, or was written anew meanwhile."""


@dataclass(frozen=True)
class _Arrays:
    """Fields that are all arrays: joined, and as a safetensors file."""

    @classmethod
    def joined(cls: type[_Part], parts: Sequence[_Part]) -> _Part:
        """At least one part, the rows of one after those of the other."""
        return cls(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)})

    def to_bytes(self) -> bytes:
        """A safetensors file's contents."""
        arrays = {f.name: np.ascontiguousarray(getattr(self, f.name)) for f in fields(self)}
        return save(arrays, {_DIGEST: _digest(arrays)})

    @classmethod
    def read(cls: type[_Part], path: Path) -> _Part:
        """What :meth:`to_bytes` gave.

        Raises:
            MissingPartError: the file is missing.
            BundleError: it is damaged.
        """
        try:
            arrays = load_file(path)
            with safe_open(path, "numpy") as file:
                digest = (file.metadata() or {}).get(_DIGEST)
            if not {f.name for f in fields(cls)} <= arrays.keys() or digest not in (None, _digest(arrays)):
                raise ValueError("it is not what was written")
            found = cls(**{f.name: arrays[f.name] for f in fields(cls)})
        except FileNotFoundError as error:
            raise MissingPartError(
                f"the search index lacks {path}: if it was updated meanwhile, load it again; otherwise it is damaged. "
                f"Then remove {path.parent} and index again."
            ) from error
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise BundleError(
                f"the search index is damaged: {path} cannot be read ({error}). Remove {path.parent} and index again."
            ) from error
        return found


def _digest(arrays: Mapping[str, NDArray[Any]]) -> str:
    """Of names, types, shapes and values: safetensors has no checksums."""
    found = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        found.update(f"{name} {array.dtype} {array.shape} ".encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


@dataclass(frozen=True)
class SlidePart(_Arrays):
    """S slides, P prototypes of all of them, E example regions of each prototype.

    Attributes:
        embedding: of slides, rows of unit length, float32 [S, dim].
        n_prototypes: K of each slide, int32 [S].
        n_regions: of each slide, int32 [S].
        region_size: side of a region, level-0 px, float64 [S].
        prototypes: slide after slide, rows of unit length, float32 [P, d].
        share: of its slide's tissue that each prototype covers, float32 [P].
        example_coords: level-0 px of each prototype's most typical regions, int32 [P, E, 2].
        example_cosine: their cosine with the prototype, float32 [P, E]; NaN where there are no more.
    """

    embedding: NDArray[np.float32]
    n_prototypes: NDArray[np.int32]
    n_regions: NDArray[np.int32]
    region_size: NDArray[np.float64]
    prototypes: NDArray[np.float32]
    share: NDArray[np.float32]
    example_coords: NDArray[np.int32]
    example_cosine: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.n_prototypes)

    @classmethod
    def of(cls, slides: Sequence[SlideEmbeddings], n_examples: int) -> SlidePart:
        """The arrays of at least one slide."""
        chosen = [typical_regions(slide, n_examples) for slide in slides]
        corners = [slide.coords[numbers.clip(min=0)] for slide, (numbers, _) in zip(slides, chosen, strict=True)]
        return cls(
            unit_rows(np.stack([slide.slide_embedding for slide in slides])),
            np.array([slide.n_prototypes for slide in slides], np.int32),
            np.array([len(slide) for slide in slides], np.int32),
            np.array([slide.region_size_level0 for slide in slides], np.float64),
            unit_rows(np.concatenate([slide.prototypes for slide in slides])),
            np.concatenate([tissue_shares(slide) for slide in slides]).astype(np.float32),
            np.concatenate(corners).astype(np.int32),
            np.concatenate([cosine for _, cosine in chosen]),
        )

    def chosen(self, rows: Sequence[int] | NDArray[np.intp]) -> SlidePart:
        """Some of the slides, in the order of ``rows``."""
        ends = np.cumsum(self.n_prototypes)
        spans = [np.arange(ends[row] - self.n_prototypes[row], ends[row]) for row in rows]
        of_prototypes = np.concatenate([*spans, np.zeros(0, np.intp)])
        by_slide = {"embedding", "n_prototypes", "n_regions", "region_size"}
        return SlidePart(*(getattr(self, f.name)[rows if f.name in by_slide else of_prototypes] for f in fields(self)))


@dataclass(frozen=True)
class RegionPart(_Arrays):
    """Regions of the slides of a part, slide after slide.

    ``features``: rows of unit length, float16 [N, dim]; ``coords``: level-0 px, int32 [N, 2].
    """

    features: NDArray[np.float16]
    coords: NDArray[np.int32]

    @classmethod
    def of(cls, slides: Sequence[SlideEmbeddings]) -> RegionPart:
        """The regions of at least one slide."""
        features = np.concatenate([slide.features for slide in slides])
        coords = np.concatenate([slide.coords for slide in slides])
        return cls(unit_rows(features).astype(np.float16), coords.astype(np.int32))


def unit_rows(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of length 1, float32; rows of zeros stay."""
    vectors = np.asarray(vectors, np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)


def padded_sets(vectors: NDArray[np.float32], sizes: NDArray[np.integer[Any]]) -> tuple[Tensor, Tensor]:
    """Sets of different size, one after the other [P, d], as [S, K, d], and which of them exist [S, K]."""
    valid = np.arange(max(int(sizes.max(initial=0)), 1)) < sizes[:, None]
    if valid.all():
        return torch.from_numpy(vectors.reshape(*valid.shape, -1)), torch.from_numpy(valid)
    padded = np.zeros((*valid.shape, vectors.shape[1]), np.float32)
    padded[valid] = vectors
    return torch.from_numpy(padded), torch.from_numpy(valid)
