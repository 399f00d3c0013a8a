"""From a query to an answer that explains itself."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...cohort import SlideTable, shown_values
from ...core import BundleError, SettingError, as_bool, as_whole
from ...pages import cosine
from ...prototypes import matched_similarity
from .answer import RegionPlace, SearchAnswer, SimilarRegions, SimilarSlide
from .explain import explain
from .index import SearchIndex
from .nearest import NearestSlides
from .part import MissingPartError
from .query import Query, read_queries
from .where import Where

_KINDS = ("sets", "embedding", "regions")
_PAIRS = 2048
_log = logging.getLogger(__name__)


class Searcher:
    """Finds the slides, or the regions, of an index that are most like those of a query.

    Args:
        index_dir: folder of the index.
        by: "sets" (mean cosine of optimally matched prototypes), "embedding" (cosine of slide embeddings) or "regions"
            (cosine of region embeddings, for single regions of the query).
        k: neighbors of a slide, or of each region; at least 1.
        where: see :class:`Where`.
        region: with "regions": see :meth:`Query.chosen_regions`.
        same_patient: whether other slides of the query's patient may be found.
        min_prototypes: with "sets": slides with fewer are found only for queries with as few, since one pair is easily
            alike.
        table: what is known of query slides; the index knows its own.
        reports: called with all answers.

    Raises:
        SettingError: an argument is outside its range.
        BundleError: there is no index.
    """

    def __init__(
        self,
        index_dir: str | Path,
        by: str = "sets",
        k: int = 5,
        where: str | Mapping[str, object] | None = None,
        *,
        region: str | int | None = None,
        same_patient: bool | str = False,
        min_prototypes: int = 2,
        table: SlideTable | None = None,
        reports: Sequence[Callable[[list[SearchAnswer]], object]] = (),
    ) -> None:
        if by not in _KINDS:
            raise SettingError(f"by is {by!r}; give one of {', '.join(_KINDS)}.")
        self.by, self.k, self.region = by, as_whole(k, "k_neighbors", 1), region
        self.where, self.same_patient = Where(where), as_bool(same_patient)
        self.min_prototypes = as_whole(min_prototypes, "min_prototypes", 1)
        self.table = SlideTable({}) if table is None else table
        self.index_dir, self.reports = Path(index_dir), list(reports)

    @cached_property
    def nearest(self) -> NearestSlides:
        """The index, read when first asked for."""
        try:
            return self._read()
        except MissingPartError:  # the index was tidied between its table of contents and its arrays
            return self._read()

    def _read(self) -> NearestSlides:
        """All that searches of this kind need, so that later updates of the folder do not matter."""
        index = SearchIndex.load(self.index_dir)
        if not len(index):
            raise BundleError(f"the search index {self.index_dir} holds no slide: add some first.")
        nearest = NearestSlides(index)
        nearest.prepare(self.by)
        return nearest

    def run(self, query: str | Path | None) -> list[SearchAnswer]:
        """Answer every slide that ``query`` names, and hand all answers to the reports.

        Args:
            query: see :func:`read_queries`.

        Raises:
            BundleError: there is no such query, or the filter leaves nothing to compare with.
        """
        if query is None:
            raise BundleError("there is nothing to search for: give --query (a file of embeddings, or a slide's id).")
        queries = read_queries(query, self.nearest.index, self.table, has_regions=self.by == "regions")
        answers = [self.answer(each) for each in queries]
        for answer in answers:
            _log.info(describe(answer))
        for report in self.reports:
            report(answers)
        return answers

    def answer(self, query: Query) -> SearchAnswer:
        """The neighbors of one slide.

        Raises:
            BundleError: the filter leaves nothing to compare with; the query has no prototypes to compare by.
        """
        allowed = self._allowed(query)
        n_compared = int(allowed.sum())
        if not n_compared:
            raise BundleError(
                f"slide {query.slide_id} can be compared with no slide of {self.index_dir}: the filter "
                f"{self.where.text!r}, same_patient {self.same_patient} and min_prototypes {self.min_prototypes} leave "
                f"none of {len(self.nearest.index)}; ask for less."
            )
        if self.by == "regions":
            return self._similar_regions(query, allowed)
        started = time.perf_counter()
        if self.by == "sets":
            if not len(query.slide.prototypes):
                raise BundleError(f"slide {query.slide_id} has no prototypes: search with --by embedding.")
            rows, similarity = self.nearest.by_sets(query.slide.prototypes, self.k, allowed)
        else:
            rows, similarity = self.nearest.by_embedding(query.slide.embedding[0], self.k, allowed)
        seconds = time.perf_counter() - started
        return SearchAnswer(
            query.slide_id,
            self.by,
            query.values,
            neighbors=[self._neighbor(query, int(row), float(s)) for row, s in zip(rows, similarity, strict=True)],
            n_compared=n_compared,
            where=self.where.text,
            n_prototypes=len(query.slide.prototypes),
            scale=self._scale,
            seconds=seconds,
        )

    def _neighbor(self, query: Query, row: int, similarity: float) -> SimilarSlide:
        index = self.nearest.index
        entry, slide = index.entry(row), index.slides.chosen([row])
        pairs = explain(query.slide_id, query.slide, entry.slide_id, slide)
        return SimilarSlide(entry.slide_id, similarity, entry.values, pairs, len(slide.prototypes))

    def _similar_regions(self, query: Query, allowed: NDArray[np.bool_]) -> SearchAnswer:
        index, nearest = self.nearest.index, self.nearest
        chosen = query.chosen_regions(self.region)
        assert query.regions is not None
        own = query.regions.features[[number for number, _ in chosen]].astype(np.float32)
        started = time.perf_counter()
        found = nearest.by_regions(own, self.k, allowed)
        seconds = time.perf_counter() - started
        regions, values = [], {}
        for (number, typical), (numbers, similarity) in zip(chosen, found, strict=True):
            x, y = query.regions.coords[number].tolist()
            place = RegionPlace(query.slide_id, x, y, float(query.slide.region_size[0]), typical)
            places = []
            for other, s in zip(numbers.tolist(), similarity.tolist(), strict=True):
                row, (left, top) = nearest.place_of(other)
                entry = index.entry(row)
                values[entry.slide_id] = entry.values
                places.append(RegionPlace(entry.slide_id, left, top, float(index.slides.region_size[row]), s))
            regions.append(SimilarRegions(place, places))
        return SearchAnswer(
            query.slide_id,
            self.by,
            query.values,
            regions=regions,
            found_values=values,
            n_compared=int(allowed.sum()),
            where=self.where.text,
            scale=self._scale,
            seconds=seconds,
        )

    def _allowed(self, query: Query) -> NDArray[np.bool_]:
        index = self.nearest.index
        allowed = self._fitting.copy()
        if self.by == "sets":
            allowed &= index.slides.n_prototypes >= min(self.min_prototypes, len(query.slide.prototypes))
        if query.slide_id in index.rows:
            allowed[index.rows[query.slide_id]] = False
        return allowed if self.same_patient else allowed & (self._patients != query.patient)

    @cached_property
    def _fitting(self) -> NDArray[np.bool_]:
        """Rows that fulfill the filter and can be compared, whatever the query."""
        index = self.nearest.index
        fits = index.is_live.copy()
        if self.where:
            fits[fits] = self.where.rows([v for v, live in zip(index.values, fits, strict=True) if live])
        return fits & self.nearest.has_prototypes if self.by == "sets" else fits

    @cached_property
    def _patients(self) -> NDArray[np.str_]:
        return np.array([entry.patient if entry else "" for entry in self.nearest.index.catalog.entries])

    @cached_property
    def _scale(self) -> list[float]:
        """See :class:`SearchAnswer`; the pairs are the same each time."""
        index, draw = self.nearest.index, np.random.default_rng(0).integers
        if self.by == "regions":
            features = index.regions.features
            pairs = draw(0, len(features), (2, _PAIRS))
            rows = np.array([[self.nearest.place_of(region)[0] for region in side] for side in pairs.tolist()])
        else:
            rows = pairs = draw(0, len(index.slides), (2, _PAIRS))
        usable = index.is_live & self.nearest.has_prototypes if self.by == "sets" else index.is_live
        a, b = pairs[:, usable[rows].all(0) & (self._patients[rows[0]] != self._patients[rows[1]])]
        if not len(a):
            return []
        if self.by == "sets":
            sets, valid = self.nearest.sets
            found = matched_similarity(sets[a], valid[a], sets[b], valid[b])[0].numpy()
        else:
            vectors = index.slides.embedding if self.by == "embedding" else features
            found = (vectors[a].astype(np.float32) * vectors[b].astype(np.float32)).sum(1)
        return [float(value) for value in np.percentile(found, range(101))]


def describe(answer: SearchAnswer, n_shown: int = 10) -> str:
    """An answer for the console: a line a neighbor."""
    usual = [cosine(answer.scale[percent]) for percent in (50, 5, 95)] if answer.scale else ["-"] * 3
    head = f"{answer.query}: {answer.n_compared} slides compared by {answer.by}; "
    lines = [head + "two of the index have {}, 90 % of pairs {} to {}".format(*usual)]
    for neighbor in answer.neighbors[:n_shown]:
        lines.append(f"  {cosine(neighbor.similarity)}  {neighbor.slide_id}  {_words(neighbor.values)}".rstrip())
    for group in answer.regions:
        lines.append(f"  region at {group.query.x},{group.query.y}:")
        lines += [f"    {cosine(p.similarity)}  {p.slide_id} at {p.x},{p.y}" for p in group.found[:n_shown]]
    return "\n".join(lines)


def _words(values: Mapping[str, str]) -> str:
    return "  ".join(f"{name}={value}" for name, value in shown_values(values).items())
