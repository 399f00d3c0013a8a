"""Slides of an index as arrays, and those arrays as one file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from ...core import BundleError
from ...storage import SlideEmbeddings, tissue_shares, typical_regions


@dataclass(frozen=True)
class SlidePart:
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

    @classmethod
    def joined(cls, parts: Sequence[SlidePart]) -> SlidePart:
        """At least one part, the slides of one after those of the other."""
        return cls(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)))

    def chosen(self, rows: NDArray[np.intp]) -> SlidePart:
        """Some of the slides, in the order of ``rows``."""
        ends = np.cumsum(self.n_prototypes)
        spans = [np.arange(ends[row] - self.n_prototypes[row], ends[row]) for row in rows]
        of_prototypes = np.concatenate([*spans, np.zeros(0, np.intp)])
        by_slide = {"embedding", "n_prototypes", "n_regions", "region_size"}
        return SlidePart(*(getattr(self, f.name)[rows if f.name in by_slide else of_prototypes] for f in fields(self)))

    def to_bytes(self) -> bytes:
        """A safetensors file's contents."""
        return save({f.name: np.ascontiguousarray(getattr(self, f.name)) for f in fields(self)})

    @classmethod
    def read(cls, path: Path) -> SlidePart:
        """What :meth:`to_bytes` gave.

        Raises:
            BundleError: the file is missing or damaged.
        """
        arrays = read_arrays(path)
        return cls(**{f.name: arrays[f.name] for f in fields(cls)})


@dataclass(frozen=True)
class RegionPart:
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

    @classmethod
    def joined(cls, parts: Sequence[RegionPart]) -> RegionPart:
        """At least one part, one after the other."""
        return cls(np.concatenate([p.features for p in parts]), np.concatenate([p.coords for p in parts]))

    def to_bytes(self) -> bytes:
        """A safetensors file's contents."""
        return save({"features": np.ascontiguousarray(self.features), "coords": np.ascontiguousarray(self.coords)})

    @classmethod
    def read(cls, path: Path) -> RegionPart:
        """What :meth:`to_bytes` gave.

        Raises:
            BundleError: the file is missing or damaged.
        """
        arrays = read_arrays(path)
        return cls(arrays["features"], arrays["coords"])


class MissingPartError(BundleError):
    """A file that the table of contents names is not there: the index is damaged, or was written anew meanwhile."""


def unit_rows(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of length 1, float32; rows of zeros stay."""
    vectors = np.asarray(vectors, np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)


def read_arrays(path: Path) -> dict[str, NDArray]:
    """The arrays of a safetensors file.

    Raises:
        MissingPartError: it is missing.
        BundleError: it is damaged.
    """
    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise MissingPartError(
            f"the search index lacks {path}: if it was updated meanwhile, load it again; otherwise it is damaged. Then "
            f"remove {path.parent} and index again."
        ) from error
    except (OSError, SafetensorError) as error:
        raise BundleError(
            f"the search index is damaged: {path} cannot be read ({error}). Remove {path.parent} and index again."
        ) from error
