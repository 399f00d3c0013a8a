"""What a cohort costs whose tokens nobody has: parts of a run that hold something of each of very many slides.

Regions and prototypes are drawn in memory. Seconds are those of the CPU: a busy machine does not change them much.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch.nn.functional import normalize

from bundle.cohort import SlideTable
from bundle.explore.atlas.cohort_atlas import CohortAtlas
from bundle.explore.atlas.slide_summary import SlideSummary
from bundle.explore.search.catalog import Entry
from bundle.explore.search.index import SearchIndex
from bundle.explore.search.nearest import NearestSlides
from bundle.prototypes import PrototypeBank, merge_sets
from bundle.storage import RegionBatchSampler, SlideEmbeddings

from .cohort import slide_prototypes

REGIONS, DIM, EMBEDDING, KINDS = 20, 256, 192, 4
_BATCH = 64
_MADE_AT_ONCE = 1 << 16  # regions
_ADDED = 16_000  # slides, as the indexer adds to a large index


def sampler_order(n_slides: int) -> dict[str, float]:
    """An epoch's batches, dealt out and thrown away, without and with a look at slides."""
    found = {}
    slide_index = torch.arange(n_slides).repeat_interleave(REGIONS)
    for name, per_batch in (("seconds", 0), ("seconds, 16 slides a batch", 16)):
        sampler = RegionBatchSampler(
            len(slide_index), _BATCH, slide_index=slide_index, slides_per_batch=per_batch, world_size=8
        )
        sampler.set_epoch(1)
        found[name] = _timed(partial(deque, sampler, 0))
    return found


def bank_fit(n_slides: int) -> dict[str, float]:
    """K-means of each slide's regions, whose features are mapped from a file, and the targets of a batch."""
    slide_index = torch.arange(n_slides).repeat_interleave(REGIONS)
    bank = PrototypeBank(KINDS)
    with TemporaryDirectory(prefix="bench_many_") as name:
        path, size = f"{name}/features", len(slide_index) * DIM
        features = torch.from_file(path, shared=True, size=size).view(-1, DIM)
        for number, part in enumerate(features.split(_MADE_AT_ONCE)):
            part.copy_(_unit_rows(len(part), number))
        seconds = _timed(lambda: bank.fit(features, slide_index, n_slides))
    batch = torch.randint(len(slide_index), (_BATCH,), generator=torch.Generator().manual_seed(0))
    first = _timed(lambda: bank.targets(batch, "cpu"))
    again = _timed(lambda: bank.targets(batch, "cpu"))
    own = {"seconds": seconds, "seconds, first targets": first, "seconds, targets": again}
    return {**own, "GiB of features": features.nbytes / 2**30}


def atlas_merge(n_slides: int) -> dict[str, float]:
    """The merging of all slides' prototypes to twice as many kinds as a slide has."""
    prototypes = slide_prototypes(n_slides, KINDS, DIM)
    seconds = _timed(lambda: merge_sets(prototypes, torch.ones(n_slides, KINDS, dtype=torch.bool), 2 * KINDS))
    return {"seconds": seconds}


def atlas_rest(n_slides: int) -> dict[str, float]:
    """All else of an atlas but reading files and the search for neighbors."""

    class Drawn(CohortAtlas):
        def _read(self) -> tuple[list[SlideSummary], dict[str, str]]:
            found = [SlideSummary.of(slide, self.table, self.n_examples, self.min_tissue) for slide in slides(n_slides)]
            return found, {}

    atlas = Drawn(".", SlideTable({}), n_neighbors=0, n_kinds=2 * KINDS)
    seconds = _timed(atlas.run)
    return {"seconds": seconds}


def search_index(n_slides: int) -> dict[str, float]:
    """An index with its regions: slides added, read again, and asked ten times."""
    with TemporaryDirectory(prefix="bench_many_") as name:
        folder = Path(name)
        index, drawn, added = SearchIndex.open(folder), slides(n_slides), 0.0
        while batch := [slide for _, slide in zip(range(_ADDED), drawn, strict=False)]:
            entries = [Entry(slide.slide_id, slide.slide_id, (1, 1), {}) for slide in batch]
            start = time.process_time()
            index.add(batch, entries)
            added += time.process_time() - start
        tidied = _timed(index.tidy)
        ends = (".safetensors", ".regions.safetensors")
        n_bytes = sum((folder / f"{part}{end}").stat().st_size for part in index.catalog.parts for end in ends)
        found = {"seconds": added, "seconds, tidied": tidied, "GB on disk": n_bytes / 1e9}
        nearest = NearestSlides(SearchIndex.load(folder))
        allowed = np.ones(n_slides, bool)
        query = nearest.index.slides.prototypes[:KINDS]
        ways: dict[str, Callable[[], Any]] = {
            "embedding": lambda: nearest.by_embedding(nearest.index.slides.embedding[0], 5, allowed),
            "sets": lambda: nearest.by_sets(query, 5, allowed),
            "regions": lambda: nearest.by_regions(nearest.index.regions.features[:1].astype(np.float32), 5, allowed),
        }
        for by, ask in ways.items():
            found[f"seconds, start of {by}"] = _timed(partial(nearest.prepare, by))
            found[f"seconds, search by {by}"] = min(_timed(ask) for _ in range(10))
        return found


def slides(n_slides: int) -> Iterator[SlideEmbeddings]:
    """Slides as inference finds them; a few are drawn, and used again under other names."""
    draws, few = np.random.default_rng(0), list[tuple[Any, ...]]()
    attributes: dict[str, Any] = {
        "level0_mpp": 0.25,
        "region_size_level0": 8192,
        "region_size_px": 4096,
        "patch_size_px": 256,
    }
    attributes |= {"mpp": 0.5, "level0_width": 80_000, "level0_height": 60_000, "encoder": "e", "region_encoder": "r"}
    for number in range(n_slides):
        if len(few) < 256:
            features = draws.normal(size=(REGIONS, EMBEDDING)).astype(np.float32)
            cells = draws.permutation(70)[:REGIONS]
            coords, assignment = np.stack([cells % 10, cells // 10], 1) * 8192, np.arange(REGIONS) % KINDS
            few.append((features, _unit_rows(REGIONS, number).numpy(), coords, draws.random((REGIONS, 16, 16)) < 0.6,
                        features.mean(0), _unit_rows(KINDS, number).numpy(), assignment))  # fmt: skip
        arrays = [array.copy() for array in few[number % len(few)]]
        yield SlideEmbeddings(f"slide_{number:07d}", *arrays, attributes=attributes)  # type: ignore[misc]


def _unit_rows(n: int, seed: int = 0) -> torch.Tensor:
    rows = torch.empty(n, DIM).normal_(generator=torch.Generator().manual_seed(seed))
    return normalize(rows, dim=1, out=rows)


def _timed(run: Callable[[], Any]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


PARTS: dict[str, Callable[[int], dict[str, float]]] = {
    "order of an epoch": sampler_order,
    "clustering": bank_fit,
    "atlas: merging": atlas_merge,
    "atlas: the rest": atlas_rest,
    "search index": search_index,
}
