"""An atlas of a cohort's tissue: plain records, for those who show them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from string import ascii_uppercase
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..search.answer import RegionPlace


class AtlasKind(NamedTuple):
    """One kind of tissue: prototypes of several slides that are merged.

    ``letter``: its name; ``share``: of the cohort's tissue, in [0, 1]; ``slides``: ids of those in which it occurs;
    ``regions``: the most typical ones, the best first; ``share_of_group``: of the tissue of the slides with each value
    in the chosen column of the slide table.
    """

    letter: str
    share: float
    slides: list[str]
    regions: list[RegionPlace]
    share_of_group: dict[str, float]


class ApartRegions(NamedTuple):
    """Regions that make no kind: edge and background.

    ``min_tissue``: share of patches with tissue that a region needs, in [0, 1]; ``n_regions``: how many have less;
    ``share``: of the cohort's tissue that lies in them; ``slides``: ids of those that have some; ``regions``: some of
    them and how much of each is tissue, the fullest first; ``without``: ids of slides in which no region is so full,
    whose fuller ones take part all the same.
    """

    min_tissue: float = 0.0
    n_regions: int = 0
    share: float = 0.0
    slides: Sequence[str] = ()
    regions: Sequence[tuple[RegionPlace, float]] = ()
    without: Sequence[str] = ()


@dataclass(frozen=True)
class AtlasSlide:
    """One slide.

    Attributes:
        slide_id: its name.
        values: its row of the slide table; empty where it has none.
        level0_size: width and height, level-0 px.
        region_size: side of a region, level-0 px.
        coords: corners of its R regions, level-0 px, int64 [R, 2].
        mask: the patch holds tissue, bool [R, P, P].
        kind: of each region, int64 [R]: place in the atlas's kinds; -1 for none.
        tissue_mm2: area of patches with tissue.
        shares: kind -> share of the slide's tissue, the largest first.
        typical: kind -> the most typical regions of the slide's own prototype.
        neighbors: most similar slides of other patients and their similarity, the best first.
        apart: the region is kept apart, as edge or background, bool [R]; empty: none is.
    """

    slide_id: str
    values: dict[str, str]
    level0_size: tuple[int, int]
    region_size: float
    coords: NDArray[np.int64]
    mask: NDArray[np.bool_]
    kind: NDArray[np.int64]
    tissue_mm2: float
    shares: dict[int, float] = field(default_factory=dict)
    typical: dict[int, list[RegionPlace]] = field(default_factory=dict)
    neighbors: list[tuple[str, float]] = field(default_factory=list)
    apart: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))

    @property
    def apart_share(self) -> float:
        """Share of the slide's tissue that lies in regions kept apart."""
        return float(self.mask[self.apart].sum() / max(int(self.mask.sum()), 1)) if len(self.apart) else 0.0


@dataclass(frozen=True)
class Atlas:
    """A cohort.

    Attributes:
        kinds: kinds of tissue, those of most tissue first.
        slides: sorted by id.
        group_by: column of the slide table behind ``share_of_group``; empty for none.
        cohesion: mean cosine of a slide's prototype and the kind it belongs to.
        failed: slides that could not be read, and why.
        apart: regions that make no kind.
    """

    kinds: list[AtlasKind]
    slides: list[AtlasSlide]
    group_by: str = ""
    cohesion: float = float("nan")
    failed: dict[str, str] = field(default_factory=dict)
    apart: ApartRegions = ApartRegions()


def letters(number: int) -> str:
    """A, B, ..., Z, AA, AB, ...: a name for 0, 1, ..."""
    text = ascii_uppercase[number % 26]
    return letters(number // 26 - 1) + text if number >= 26 else text
