"""What inference finds in one slide, as plain arrays, and which regions stand for a prototype."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core import BundleError


@dataclass(frozen=True)
class SlideEmbeddings:
    """A slide as its regions, their embeddings and their prototypes.

    R regions, K prototypes, P patches on a region's side (16), H attention heads.

    Attributes:
        slide_id: see :func:`bundle.cohort.find_slides`.
        features: region embeddings, float32 [R, dim] (192).
        projection: the same regions where prototypes live, float32 [R, d] (256), rows of unit length.
        coords: level-0 px (x, y) of each region's top-left corner, int64 [R, 2]; negative where a slide is smaller than
            a region.
        mask: the patch holds tissue, bool [R, P, P], row-major.
        slide_embedding: mean of ``features``, float32 [dim].
        prototypes: float32 [K, d], rows of unit length; K is 0 for a slide without.
        assignment: each region's prototype, int64 [R]; -1 where there is none.
        attention: where CLS looks in the last block, float16 [R, H, P, P], or None where it was not asked for. A head's
            weights of a region sum to at most 1.
        attributes: what the file records beside: ``mpp``, ``level0_mpp`` (um/px), ``level0_width``, ``level0_height``
            (level-0 px), ``region_size_level0`` (level-0 px, may be a fraction), ``region_size_px``, ``patch_size_px``,
            ``slide_path`` (name only), ``reader``, ``encoder`` (of patches), ``region_encoder`` (name and SHA-256).
    """

    slide_id: str
    features: NDArray[np.float32]
    projection: NDArray[np.float32]
    coords: NDArray[np.int64]
    mask: NDArray[np.bool_]
    slide_embedding: NDArray[np.float32]
    prototypes: NDArray[np.float32]
    assignment: NDArray[np.int64]
    attention: NDArray[np.float16] | None = None
    attributes: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.coords)

    @property
    def n_prototypes(self) -> int:
        """K."""
        return len(self.prototypes)

    @property
    def similarity(self) -> NDArray[np.float32]:
        """Cosine of every region with every prototype, float32 [R, K]."""
        return self.projection @ self.prototypes.T

    @property
    def region_size_level0(self) -> float:
        """Side of a region, level-0 px."""
        return self._number("region_size_level0")

    @property
    def level0_mpp(self) -> float:
        """um/px of level 0."""
        return self._number("level0_mpp")

    @property
    def level0_size(self) -> tuple[int, int]:
        """Width and height of the slide, level-0 px."""
        return int(self._number("level0_width")), int(self._number("level0_height"))

    @property
    def patch_level0(self) -> float:
        """Side of a patch, level-0 px."""
        return self.region_size_level0 / self.mask.shape[1]

    def _number(self, name: str) -> float:
        found = self.attributes.get(name)
        try:
            number = float(found)  # type: ignore[arg-type]  # what it is, is asked here
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not (math.isfinite(number) and number > 0):
            raise BundleError(
                f"the embeddings of slide {self.slide_id} record {name} {found!r}, which is no length: run "
                "inference on the slide again."
            )
        return number


def tissue_shares(slide: SlideEmbeddings) -> NDArray[np.float64]:
    """Share of the slide's patches with tissue that lie in regions of each prototype, [K], in [0, 1].

    The shares sum to 1 where every region has a prototype.
    """
    n_patches = slide.mask.reshape(len(slide), -1).sum(1).astype(np.float64)
    member = slide.assignment >= 0
    totals = np.bincount(slide.assignment[member], n_patches[member], slide.n_prototypes)
    return totals / max(n_patches.sum(), 1.0)


def typical_regions(
    slide: SlideEmbeddings, n_regions: int, rank: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The regions of each prototype that are most like it.

    Args:
        slide: a slide.
        n_regions: E, regions a prototype, at least 1.
        rank: of each region, [R]: those of a higher one come first, however like they are; None: all are of one.

    Returns:
        Numbers of regions [K, E], the most typical first, -1 where a prototype has no more; their cosine with the
        prototype [K, E], NaN there.
    """
    found = np.full((slide.n_prototypes, n_regions), -1, np.int64)
    cosine = np.full(found.shape, np.nan, np.float32)
    similarity, rank = slide.similarity, np.zeros(len(slide), np.int64) if rank is None else rank
    for prototype in range(slide.n_prototypes):
        members = np.flatnonzero(slide.assignment == prototype)
        order = members[np.lexsort((-similarity[members, prototype], -rank[members]))][:n_regions]
        found[prototype, : len(order)] = order
        cosine[prototype, : len(order)] = similarity[order, prototype]
    return found, cosine
