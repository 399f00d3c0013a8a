"""From the embeddings of a cohort to its kinds of tissue."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...cohort import SlideTable
from ...core import BundleError, Progress, as_bool, as_number, as_whole
from ...prototypes import MergedSets, merge_sets
from ...storage import Provenance, find_embeddings, read_embeddings
from ..search.answer import RegionPlace
from ..search.part import padded_sets
from .cohort_neighbors import cohort_neighbors
from .record import ApartRegions, Atlas, AtlasKind, AtlasSlide, letters
from .slide_summary import SlideSummary
from .tissue_regions import apart_of

_MOST_GROUPS = 8
_log = logging.getLogger(__name__)


class CohortAtlas:
    """Merges the prototypes of all slides to kinds of tissue, and finds what is typical of each.

    A slide's prototypes go to different kinds, by the optimal assignment (:func:`bundle.prototypes.merge_sets`), so
    that two of a slide are never one kind. Regions of edge and background are kept apart: of a slide that has some, the
    prototypes of its other regions are found anew. Embeddings are read once, one slide after the other.

    Args:
        dataset_dir: folder of embedding files, searched in depth.
        table: what is known of the slides.
        n_kinds: M; at least the largest number of prototypes of a slide. None: twice that number.
        n_examples: typical regions of a kind.
        n_examples_per_slide: of these from one slide, at most.
        min_region_tissue: share of its patches with tissue that a region needs to be of a kind, in [0, 1]
            (:func:`bundle.explore.atlas.tissue_regions.regions_apart`); 0: all regions are.
        n_neighbors: similar slides of each slide.
        same_patient: whether slides of the same patient count as neighbors.
        min_prototypes: slides with fewer are neighbors only of slides with as few.
        group_by: column of the slide table by whose values shares are given; None, or a column that the table lacks or
            that has more than 8 values: no such shares.
        seed: of the merging.
        reports: called with the :class:`Atlas`.
    """

    def __init__(
        self,
        dataset_dir: str | Path,
        table: SlideTable | None = None,
        *,
        n_kinds: int | None = None,
        n_examples: int = 8,
        n_examples_per_slide: int = 2,
        min_region_tissue: float = 0.25,
        n_neighbors: int = 5,
        same_patient: bool | str = False,
        min_prototypes: int = 2,
        group_by: str | None = "label",
        seed: int = 0,
        reports: Sequence[Callable[[Atlas], object]] = (),
    ) -> None:
        self.dataset_dir, self.table = Path(dataset_dir), SlideTable({}) if table is None else table
        self.n_kinds = None if n_kinds is None else as_whole(n_kinds, "n_kinds", 1)
        self.n_examples = as_whole(n_examples, "n_examples", 1)
        self.n_per_slide = as_whole(n_examples_per_slide, "n_examples_per_slide", 1)
        self.min_tissue = as_number(min_region_tissue, "min_region_tissue", 0.0, 1.0)
        self.n_neighbors = as_whole(n_neighbors, "k_neighbors")
        self.min_prototypes = as_whole(min_prototypes, "min_prototypes", 1)
        self.same_patient, self.group_by = as_bool(same_patient), group_by or ""
        self.seed, self.reports = as_whole(seed, "seed"), list(reports)

    def run(self) -> Atlas:
        """Make the atlas and hand it to the reports.

        Raises:
            BundleError: no embeddings are found, none can be read, or no slide has a prototype.
        """
        found, failed = self._read()
        prototypes, valid = _sets([each.prototypes for each in found])
        merged = self._merged(prototypes, valid)
        tissue = np.array([each.slide.tissue_mm2 for each in found])
        order = np.argsort(-_areas(found, merged, tissue), kind="stable")
        member = np.where(valid.numpy(), np.argsort(order)[merged.member.numpy()], -1)
        neighbors = self._neighbors(found)
        slides = [each.placed(kinds, near) for each, kinds, near in zip(found, member, neighbors, strict=True)]
        groups = self._groups(slides)
        vectors = merged.vectors[torch.from_numpy(order.copy())].numpy()
        kinds = [
            self._kind(number, self._most_typical(number, vector, found, member), slides, groups, tissue)
            for number, vector in enumerate(Progress(vectors, desc="kinds of tissue", leave=False))
        ]
        cohesion = float(merged.similarity.nanmean())
        apart = apart_of(slides, self.min_tissue, self.n_examples)
        _say(apart, slides)
        atlas = Atlas(kinds, slides, self.group_by if groups else "", cohesion, failed, apart)
        for report in self.reports:
            report(atlas)
        return atlas

    def _read(self) -> tuple[list[SlideSummary], dict[str, str]]:
        found: list[SlideSummary] = []
        failed: dict[str, str] = {}
        provenance: Provenance | None = None
        paths = find_embeddings(self.dataset_dir)
        for path in Progress(paths, desc="reading embeddings", leave=False):
            try:
                slide = read_embeddings(path, attention=False)
                own = Provenance.of(slide.attributes)
                provenance = provenance or own
                if difference := provenance.difference(own):
                    raise BundleError(
                        f"slide {slide.slide_id} cannot stand beside {found[0].slide.slide_id}: {difference}. Keep "
                        "embeddings of one kind in a folder."
                    )
            except BundleError as error:
                failed[path.stem] = str(error)
                _log.warning("slide %s is left out: %s", path.stem, error)
                continue
            found.append(SlideSummary.of(slide, self.table, self.n_examples, self.min_tissue))
        if not found:
            raise BundleError(f"no slide of {self.dataset_dir} can be read: {next(iter(failed.values()))}")
        return sorted(found, key=lambda each: each.slide.slide_id), failed

    def _merged(self, prototypes: Tensor, valid: Tensor) -> MergedSets:
        largest = int(valid.sum(1).max())
        if largest == 0:
            raise BundleError(
                f"no slide of {self.dataset_dir} has prototypes: run inference with fewer min_regions, or with more "
                "slides."
            )
        wanted = 2 * largest if self.n_kinds is None else self.n_kinds
        if wanted < largest:
            _log.warning(
                "n_kinds is %d, but a slide has %d prototypes, each of a kind of its own: %d kinds are made",
                wanted,
                largest,
                largest,
            )
        return merge_sets(prototypes, valid, max(wanted, largest), seed=self.seed)

    def _neighbors(self, found: Sequence[SlideSummary]) -> list[list[tuple[str, float]]]:
        if not self.n_neighbors:
            return [[]] * len(found)
        prototypes, valid = _sets([each.stored for each in found])  # as search does: similar is the same everywhere
        names = [each.slide.slide_id for each in found]
        patients = np.array([each.slide.values.get("patient") or each.slide.slide_id for each in found])
        answers = cohort_neighbors(
            prototypes,
            valid,
            self.n_neighbors,
            min_prototypes=self.min_prototypes,
            patients=None if self.same_patient else patients,
        )
        return [[(names[i], similarity) for i, similarity in pairs] for pairs in answers]

    def _groups(self, slides: Sequence[AtlasSlide]) -> list[str]:
        values = sorted({value for slide in slides if (value := slide.values.get(self.group_by))})
        return values if 1 < len(values) <= _MOST_GROUPS else []

    def _most_typical(
        self, number: int, vector: NDArray[np.float32], found: Sequence[SlideSummary], member: NDArray[np.int64]
    ) -> list[RegionPlace]:
        """Regions most like a kind: those half full of tissue, one of each slide, then a second one, fuller ones first;
        then others."""
        ranked: list[tuple[bool, int, int, float, RegionPlace]] = []
        for row, prototype in np.argwhere(member == number).tolist():
            each = found[row]
            places = each.places(prototype)
            cosines = each.vectors[prototype, : len(places)] @ vector
            full = each.fullness[prototype, : len(places)]
            for turn, i in enumerate(np.lexsort((-cosines, -full))[: self.n_per_slide].tolist()):
                similarity = float(cosines[i])
                place = places[i]._replace(similarity=similarity)
                ranked.append((not full[i], turn, -int(full[i]), -similarity, place))
        ranked.sort(key=lambda item: item[:4])
        return sorted((place for *_, place in ranked[: self.n_examples]), key=lambda place: -place.similarity)

    def _kind(
        self,
        number: int,
        regions: list[RegionPlace],
        slides: Sequence[AtlasSlide],
        groups: Sequence[str],
        tissue: NDArray[np.float64],
    ) -> AtlasKind:
        shares = np.array([slide.shares.get(number, 0.0) for slide in slides])
        of_group = {}
        for group in groups:
            is_in = np.array([slide.values.get(self.group_by) == group for slide in slides])
            of_group[group] = float(shares[is_in] @ tissue[is_in] / max(tissue[is_in].sum(), 1e-12))
        return AtlasKind(
            letters(number),
            float(shares @ tissue / max(tissue.sum(), 1e-12)),
            [slide.slide_id for slide in slides if number in slide.shares],
            regions,
            of_group,
        )


def _areas(found: Sequence[SlideSummary], merged: MergedSets, tissue: NDArray[np.float64]) -> NDArray[np.float64]:
    """Tissue of each merged prototype, mm2."""
    areas = np.zeros(len(merged.vectors))
    for each, member, area in zip(found, merged.member.numpy(), tissue, strict=True):
        np.add.at(areas, member[: len(each.shares)], each.shares * area)
    return areas


def _sets(prototypes: Sequence[NDArray[np.float32]]) -> tuple[Tensor, Tensor]:
    return padded_sets(np.concatenate(prototypes), np.array([len(own) for own in prototypes]))


def _say(apart: ApartRegions, slides: Sequence[AtlasSlide]) -> None:
    if apart.n_regions:
        _log.info(
            "%d of %d regions are kept apart: less than %.0f %% of their patches hold tissue",
            apart.n_regions,
            sum(len(slide.coords) for slide in slides),
            100 * apart.min_tissue,
        )
    if apart.without:
        _log.warning(
            "no region of %d of %d slides, such as %s, holds tissue in %.0f %% of its patches; their fuller regions "
            "take part. For a cohort of small biopsies give a smaller --min_region_tissue.",
            len(apart.without),
            len(slides),
            apart.without[0],
            100 * apart.min_tissue,
        )
