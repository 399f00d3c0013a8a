"""What a search for similar slides found: plain records, for those who show them."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import NamedTuple


class RegionPlace(NamedTuple):
    """One region of a slide.

    ``x``, ``y``: top-left corner, level-0 px; ``size``: side, level-0 px; ``similarity``: cosine with what it stands
    for (its prototype, or the region that was searched for).
    """

    slide_id: str
    x: int
    y: int
    size: float
    similarity: float


class PrototypePair(NamedTuple):
    """A prototype of the query and its match in a neighbor.

    ``query``, ``neighbor``: numbers of the prototypes within their slides; ``cosine``: of the two; shares: of each
    slide's tissue; regions: the most typical ones, the best first.
    """

    query: int
    neighbor: int
    cosine: float
    query_share: float
    neighbor_share: float
    query_regions: list[RegionPlace]
    neighbor_regions: list[RegionPlace]


class SimilarSlide(NamedTuple):
    """A neighbor.

    ``similarity`` to the query; ``values``: its row of the slide table; ``pairs``: what explains it, most tissue first;
    ``n_prototypes``: how many it has, of which as many are matched as the query has, at most.
    """

    slide_id: str
    similarity: float
    values: dict[str, str]
    pairs: list[PrototypePair]
    n_prototypes: int


class SimilarRegions(NamedTuple):
    """A region of the query, and the regions of other slides that are most like it, the best first."""

    query: RegionPlace
    found: list[RegionPlace]


@dataclass(frozen=True)
class SearchAnswer:
    """The neighbors of one slide.

    Attributes:
        query: its slide id.
        values: its row of the slide table; empty where it has none.
        by: ``sets``, ``embedding`` or ``regions``.
        neighbors: similar slides, best first; none with ``regions``.
        regions: similar regions; only with ``regions``.
        found_values: row of the slide table of each slide in ``regions``.
        n_compared: slides that could have been found.
        where: the filter, as it was given.
        n_prototypes: of the query.
        scale: similarities of two slides (or regions) of different patients in the index: 0 %, 1 %, ... 100 % of a
            sample of pairs lie at or below these; empty where there are no two patients.
        seconds: time of the search itself.
    """

    query: str
    by: str
    values: dict[str, str] = field(default_factory=dict)
    neighbors: list[SimilarSlide] = field(default_factory=list)
    regions: list[SimilarRegions] = field(default_factory=list)
    found_values: dict[str, dict[str, str]] = field(default_factory=dict)
    n_compared: int = 0
    where: str = ""
    n_prototypes: int = 0
    scale: list[float] = field(default_factory=list)
    seconds: float = 0.0

    def percent_below(self, similarity: float) -> int:
        """Of 100 pairs of slides (or regions) of the index, how many are less similar."""
        return min(bisect_left(self.scale, similarity), 100)
