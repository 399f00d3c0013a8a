"""Time of a search in a large index, on simulated slides."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from bundle.explore import NearestSlides, SearchIndex
from bundle.explore.search.catalog import Entry
from bundle.storage import Provenance, SlideEmbeddings

_DIM, _PROJECTION, _DIRECTIONS, _KINDS, _SIZE = 192, 256, 32, 12, 4
_FOUND = 10  # slides of an answer


def simulated_slides(n_slides: int, seed: int = 0) -> list[SlideEmbeddings]:
    """Slides of one region and 4 prototypes of 12 kinds: directions of a 32-dimensional subspace, an offset a slide,
    noise a prototype, a little noise in all 256 dimensions."""
    rng = np.random.default_rng(seed)
    fixed = np.random.default_rng(1)
    basis = np.linalg.qr(fixed.standard_normal((_PROJECTION, _DIRECTIONS)))[0].T
    kinds = _unit(fixed.standard_normal((_KINDS, _DIRECTIONS)))
    own = np.argsort(rng.random((n_slides, _KINDS)), 1)[:, :_SIZE]
    low = kinds[own] + 0.5 / np.sqrt(_DIRECTIONS) * rng.standard_normal((n_slides, 1, _DIRECTIONS))
    low += 0.4 / np.sqrt(_DIRECTIONS) * rng.standard_normal(low.shape)
    noise = 0.15 / np.sqrt(_PROJECTION) * rng.standard_normal((n_slides, _SIZE, _PROJECTION))
    prototypes = _unit(low @ basis + noise).astype(np.float32)
    embedding = rng.standard_normal((n_slides, _DIM)).astype(np.float32)
    one, mask = np.zeros(1, np.int64), np.ones((1, 1, 1), bool)
    return [
        SlideEmbeddings(
            f"slide_{seed}_{i}",
            embedding[i : i + 1],
            prototypes[i, :1],
            np.zeros((1, 2), np.int64),
            mask,
            embedding[i],
            prototypes[i],
            one,
            attributes={"region_size_level0": 4096.0},
        )
        for i in range(n_slides)
    ]


def simulated_index(folder: Path, n_slides: int, batch: int = 10_000) -> SearchIndex:
    """An index of so many simulated slides, without regions; its columns are ``site`` and ``label``."""
    index = SearchIndex.open(folder, regions=False, n_examples=1)
    index.catalog.provenance = Provenance("", "", 0.0)
    for seed, start in enumerate(range(0, n_slides, batch)):
        slides = simulated_slides(min(batch, n_slides - start), seed)
        values = [{"site": "ABCD"[i % 4], "label": ["LUAD", "LUSC"][i % 2]} for i in range(len(slides))]
        entries = [Entry(s.slide_id, s.slide_id, (0, 0), v) for s, v in zip(slides, values, strict=True)]
        index.add(slides, entries)
    return index


def main() -> None:
    """``python -m scripts.bench.search``: seconds of CPU a search, one thread, as a Markdown table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--slides", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=20)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
        simulated_index(Path(folder), arguments.slides)
        started = time.process_time()
        index = SearchIndex.load(folder)
        nearest = NearestSlides(index)
        for by in ("embedding", "sets"):
            nearest.prepare(by)
        print(f"read and arranged in {time.process_time() - started:.1f} s of CPU time\n\n| search | ms |\n|---|---|")
        for name, search in _searches(nearest).items():
            print(f"| {name} | {_milliseconds(search, arguments.queries, len(index)):.1f} |", flush=True)


def _searches(nearest: NearestSlides) -> dict[str, Callable[[int], object]]:
    slides = nearest.index.slides
    everything = np.ones(len(slides), bool)
    quarter = np.arange(len(slides)) % 4 == 0
    exhaustive = NearestSlides(nearest.index, n_compared_at_once=len(slides))
    exhaustive.sets = nearest.sets  # the same arrays

    def sets(row: int) -> NDArray[np.float32]:
        return slides.prototypes[row * _SIZE : (row + 1) * _SIZE]

    return {
        "embedding": lambda row: nearest.by_embedding(slides.embedding[row], _FOUND, everything),
        "sets": lambda row: nearest.by_sets(sets(row), _FOUND, everything),
        "sets, a quarter of the slides": lambda row: nearest.by_sets(sets(row), _FOUND, quarter),
        "sets, every slide matched": lambda row: exhaustive.by_sets(sets(row), _FOUND, everything),
    }


def _milliseconds(search: Callable[[int], object], n_queries: int, n_slides: int) -> float:
    """Median CPU time of a search, for evenly spaced slides; the first does not count."""
    search(0)
    taken = []
    for row in np.linspace(0, n_slides - 1, n_queries).astype(int).tolist():
        started = time.process_time()
        search(row)
        taken.append(1e3 * (time.process_time() - started))
    return float(np.median(taken))


def _unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


if __name__ == "__main__":
    main()
