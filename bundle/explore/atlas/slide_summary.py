"""What an atlas keeps of a slide, when its embeddings have been read."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...cohort import SlideTable
from ...storage import SlideEmbeddings, tissue_shares, typical_regions
from ..search.answer import RegionPlace
from .record import AtlasSlide
from .tissue_regions import fullness, regions_apart, without_apart


@dataclass(frozen=True)
class SlideSummary:
    """K prototypes and their E most typical regions.

    Attributes:
        slide: what is shown of it; kinds, shares and neighbors come with :meth:`placed`.
        stored: the slide's prototypes as inference found them, float32 [K', d].
        prototypes: those of the regions that take part, float32 [K, d]; the stored ones where all do.
        assignment: prototype of each region, int64 [R]; -1 for none.
        shares: of the slide's tissue that each prototype covers, [K].
        examples: numbers of regions [K, E], the fuller ones first, -1 where there are no more.
        cosines: of these with their prototype, [K, E].
        vectors: of these, where prototypes live, float32 [K, E, d].
        fullness: of these (:func:`fullness`), [K, E].
    """

    slide: AtlasSlide
    stored: NDArray[np.float32]
    prototypes: NDArray[np.float32]
    assignment: NDArray[np.int64]
    shares: NDArray[np.float64]
    examples: NDArray[np.int64]
    cosines: NDArray[np.float32]
    vectors: NDArray[np.float32]
    fullness: NDArray[np.int64]

    @classmethod
    def of(cls, slide: SlideEmbeddings, table: SlideTable, n_examples: int, min_tissue: float = 0.0) -> SlideSummary:
        """The summary of one slide; ``min_tissue``: see :func:`regions_apart`."""
        apart = regions_apart(slide.mask, min_tissue)
        patch_mm = slide.patch_level0 * slide.level0_mpp / 1000
        about = AtlasSlide(
            slide.slide_id,
            table.row(slide.slide_id, slide.attributes.get("slide_path")).values,
            slide.level0_size,
            slide.region_size_level0,
            slide.coords,
            slide.mask,
            np.full(len(slide), -1, np.int64),
            float(slide.mask.sum()) * patch_mm**2,
            apart=apart,
        )
        chosen = without_apart(slide, apart)
        full = fullness(slide.mask)
        examples, cosines = typical_regions(chosen, n_examples, full)
        shown = examples.clip(min=0)
        return cls(
            about,
            slide.prototypes,
            chosen.prototypes,
            chosen.assignment,
            tissue_shares(chosen),
            examples,
            cosines,
            slide.projection[shown],
            full[shown],
        )

    def places(self, prototype: int) -> list[RegionPlace]:
        """The most typical regions of a prototype."""
        found = []
        for region, cosine in zip(self.examples[prototype], self.cosines[prototype], strict=True):
            if region >= 0:
                x, y = self.slide.coords[region].tolist()
                found.append(RegionPlace(self.slide.slide_id, x, y, self.slide.region_size, float(cosine)))
        return found

    def placed(self, kinds: NDArray[np.int64], neighbors: list[tuple[str, float]]) -> AtlasSlide:
        """The slide in the atlas.

        Args:
            kinds: of each prototype, at least K of them.
            neighbors: similar slides and their similarity.
        """
        of_region = np.append(kinds[: len(self.prototypes)], -1)[self.assignment]  # the last is for those without
        order = np.argsort(-self.shares, kind="stable").tolist()
        shares = {int(kinds[prototype]): float(self.shares[prototype]) for prototype in order}
        typical = {int(kinds[prototype]): self.places(prototype) for prototype in order}
        return replace(self.slide, kind=of_region, shares=shares, typical=typical, neighbors=neighbors)
