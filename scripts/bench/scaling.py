"""``python -m scripts.bench.scaling``: clustering, matching and an epoch's input as slides, K and processes grow."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bundle.pages import OKABE_ITO
from bundle.prototypes import PrototypeBank, batched_kmeans, nearest_sets, nearest_slides
from bundle.prototypes.neighbor_search import NeighborSearch

from . import report
from .cohort import region_features, regions_per_slide, slide_prototypes
from .epoch_input import DIM, reading, sampler

_DIM, _SIZE = 256, 4
_KMEANS_SLIDES = (100, 300, 1000, 3000, 10000)
_MATCHING_SLIDES = (100, 300, 1000, 3000, 10000, 30000, 100_000)
_LARGE = 1_000_000
_FEW_DIRECTIONS = 24
_FIRST_ROWS = 16
_SIZES = (2, 4, 8, 12, 16)
_QUERIES = 64
_SAMPLED_SLIDES = (1000, 10_000, 100_000, 1_000_000)
_READ_SLIDES = (3, 10, 30, 100)
_READ = {"read": "reading tokens", "crops": "reading, 10 crops"}  # of an epoch


def kmeans_seconds(n_slides: int, size: int = _SIZE) -> float:
    """K-means of all slides, 5 restarts of 10 iterations."""
    points, slide_index = region_features(regions_per_slide(n_slides), _DIM)
    wanted = torch.full((n_slides,), size)
    return _best(lambda: batched_kmeans(points, slide_index, wanted))


def matching_seconds(n_slides: int, size: int = _SIZE, n_directions: int | None = None) -> float:
    """Exact search of the nearest slide of every slide."""
    prototypes = slide_prototypes(n_slides, size, _DIM, n_directions=n_directions)
    valid = torch.ones(n_slides, size, dtype=torch.bool)
    return _best(lambda: nearest_slides(prototypes, valid, 1))


def large_row(n_slides: int, n_directions: int | None) -> dict[str, Any]:
    """The search in a cohort too large to wait for: its first rows of blocks, the rest at the pace of the last one.

    The first are slower, since little is known of what other slides reach.
    """
    prototypes = slide_prototypes(n_slides, _SIZE, _DIM, n_directions=n_directions)
    valid = torch.ones(n_slides, _SIZE, dtype=torch.bool)
    times = [time.perf_counter()]
    search = NeighborSearch(prototypes, valid, 1)
    times.append(time.perf_counter())
    rows = search.rows(0, 1)
    n_measured = min(_FIRST_ROWS, len(rows))
    for i in range(n_measured):
        search.run(rows[i : i + 1])
        times.append(time.perf_counter())
    n_left = len(rows) - n_measured
    of_a_block = (times[-1] - times[-2]) / (n_left + 1)  # row i of n has n - i blocks
    queries = torch.linspace(0, search.block - 1, _QUERIES).long()
    truth, _ = nearest_sets(prototypes[queries], valid[queries], prototypes, valid, 1, leave_out=queries)
    return {
        "slides": n_slides,
        "directions": n_directions or _DIM,
        "preparation": times[1] - times[0],
        "seconds": times[-1] - times[0] + of_a_block * n_left * (n_left + 1) / 2,
        "recall": float((search.index[queries] == truth).float().mean()),
    }


def process_seconds(n_processes: int, n_slides: int = 3000) -> dict[str, float]:
    """Clustering and matching by a :class:`~bundle.prototypes.PrototypeBank` whose work that many processes share."""
    with TemporaryDirectory() as folder:
        mp.spawn(_cluster_and_match, args=(n_processes, n_slides, folder), nprocs=n_processes)
        found = [json.loads(path.read_text()) for path in Path(folder).glob("seconds-*")]
        return {name: max(each[name] for each in found) for name in ("clustering", "matching")}


def _cluster_and_match(rank: int, world: int, n_slides: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=world)
    points, slide_index = region_features(regions_per_slide(n_slides), _DIM)
    bank = PrototypeBank(_SIZE)
    seconds = {"clustering": _best(lambda: bank.fit(points, slide_index, n_slides)), "matching": _best(bank.match)}
    Path(folder, f"seconds-{rank}").write_text(json.dumps(seconds))
    dist.destroy_process_group()


def _best(run: Callable[[], Any]) -> float:
    """Seconds of the quickest of a few runs; one run alone where it takes long."""
    found: list[float] = []
    while len(found) < 3 and sum(found) < 20:
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return min(found)


def exponent(x: Sequence[float], seconds: Sequence[float]) -> float:
    """Slope of log seconds over log x, from the upper half of the points (start-up costs bend the lower)."""
    half = len(x) // 2 if len(x) > 3 else 0
    return float(np.polyfit(np.log(x[half:]), np.log(seconds[half:]), 1)[0])


def sampling_seconds(n_slides: int) -> float:
    """An epoch's order, and the regions of each batch as the loader gets them."""
    batches = sampler(n_slides)
    return _best(lambda: deque(batches, maxlen=0))


def epoch_input(quick: bool = False) -> dict[str, Any]:
    """What an epoch of training asks of its loader: seconds of its parts, and bytes, by the number of slides."""
    sampled = (30, 60) if quick else _SAMPLED_SLIDES
    slides = (1, 2) if quick else _READ_SLIDES
    found = [reading(n) for n in slides]
    series = {name: {"x": list(slides), "seconds": [each[key] for each in found]} for key, name in _READ.items()}
    sizes = {name: [each[name] for each in found] for name in ("regions", "bytes")}
    return {"seconds": {"sampling": _series(sampled, sampling_seconds), **series}, "x": list(slides), **sizes}


def measured(quick: bool = False, before: dict[str, Any] | None = None) -> dict[str, Any]:
    """All series.

    Args:
        quick: a few small sizes, to see that it works.
        before: an earlier answer, whose parts are kept.
    """
    found = dict(before or {})
    if not {"slides", "K", "large", "processes"} <= found.keys():
        found |= _prototypes(quick)
    if "epoch" not in found:
        found["epoch"] = {**epoch_input(quick), "threads": torch.get_num_threads(), "load": os.getloadavg()[0]}
    return found


def _prototypes(quick: bool) -> dict[str, Any]:
    n = 2 if quick else None
    kmeans_slides, matching_slides = ((30, 60), (30, 60)) if quick else (_KMEANS_SLIDES, _MATCHING_SLIDES)
    with_slides = {"K-means": _series(kmeans_slides, kmeans_seconds)}
    with_slides["matching"] = _series(matching_slides, matching_seconds)
    with_slides[f"matching, {_FEW_DIRECTIONS} directions"] = _series(
        matching_slides, lambda slides: matching_seconds(slides, n_directions=_FEW_DIRECTIONS)
    )
    with_size = {"K-means, 1,000 slides": _series(_SIZES[:n], lambda k: kmeans_seconds(60 if quick else 1000, k))}
    slides = 100 if quick else 1000
    with_size[f"matching, {slides:,} slides"] = _series(_SIZES[:n], lambda k: matching_seconds(slides, k))
    n_large, shared = (1500, 100) if quick else (_LARGE, 3000)
    return {
        "threads": torch.get_num_threads(),
        "slides": with_slides,
        "K": with_size,
        "large": [large_row(n_large, directions) for directions in (None, _FEW_DIRECTIONS)],
        "processes": [process_seconds(n, shared) for n in (1, 2)],
        "shared_slides": shared,
    }


def _series(sizes: Sequence[int], seconds: Callable[[int], float]) -> dict[str, list[float]]:
    found = []
    for size in sizes:
        found.append(seconds(size))
        print(f"  {size:,}: {found[-1]:.3g} s", flush=True)
    return {"x": list(sizes), "seconds": found}


def table(found: dict[str, Any]) -> str:
    """Markdown."""
    parts = [f"Measured with {found['threads']} thread(s), D = {_DIM}, seconds of one run.\n"]
    for axis, what in (("slides", f"slides (K = {_SIZE})"), ("K", "K")):
        for name, series in found[axis].items():
            power = exponent(series["x"], series["seconds"])
            header = [what, *(f"{x:,}" for x in series["x"]), "exponent"]
            parts.append(report.table(header, [[name, *(f"{s:.3g}" for s in series["seconds"]), f"{power:.2f}"]]))
    parts.append(
        "Matching is exact; where slides differ in few directions, bounds are taken in few dimensions. Beyond: the "
        f"first {_FIRST_ROWS} rows of blocks are compared, the others are reckoned at the pace of the last of these; "
        f"recall is that of {_QUERIES} slides of the first.\n"
    )
    large = [
        (f"{n:,}", f"{directions}", f"{preparation:.3g}", f"{seconds / 3600:.3g}", f"{recall:.3f}")
        for n, directions, preparation, seconds, recall in (row.values() for row in found["large"])
    ]
    parts.append(report.table(("slides", "directions", "preparation, s", "hours, reckoned", "recall@1"), large))
    one, two = found["processes"]
    shared = [(name, f"{one[name]:.3g}", f"{two[name]:.3g}", f"{one[name] / two[name]:.2f}") for name in one]
    header = [f"{found['shared_slides']:,} slides, processes of a thread each", "1", "2", "speed-up"]
    return "\n".join([*parts, report.table(header, shared), epoch_table(found["epoch"])])


def epoch_table(found: dict[str, Any]) -> str:
    """Markdown of :func:`epoch_input`, with what it comes to beyond what was measured."""
    series = found["seconds"]
    slides = sorted({*found["x"], *series["sampling"]["x"]})
    of_a_slide = {name: sum(found[name]) / sum(found["x"]) for name in ("regions", "bytes")}
    units = {"regions": 1.0, "GB": 1e9}
    rows = []
    for (unit, per), name in zip(units.items(), ("regions", "bytes"), strict=True):
        known = dict(zip(found["x"], found[name], strict=True))
        rows.append([unit, *(_told(known.get(n), n * of_a_slide[name], per) for n in slides), ""])
    for name, each in series.items():
        known = dict(zip(each["x"], each["seconds"], strict=True))
        power = f"{exponent(each['x'], each['seconds']):.2f}"
        told = (_told(known.get(n), _reckoned(each, n)) if n >= each["x"][0] else "" for n in slides)
        rows.append([f"{name}, s", *told, power])
    about = (
        "An epoch's input: the order of its regions and the batches of 128 that the sampler hands out; tokens (D = "
        f"{DIM}, float16) read from files in the page cache, nothing kept; the same, and the paper's ten crops of each "
        f"region cut on {found['threads']} thread(s). *Slanted: reckoned in proportion to the slides, from the largest "
        "that was measured.* Beyond the memory's size the disk decides: regions times 197 kB by its rate. "
        f"The machine's load was {found['load']:.1f}: above 1, seconds are too many."
    )
    return f"{about}\n\n{report.table(['slides', *(f'{n:,}' for n in slides), 'exponent'], rows)}"


def _told(known: float | None, reckoned: float, per: float = 1.0) -> str:
    found = (reckoned if known is None else known) / per
    word = f"{found:,.0f}" if found >= 100 else f"{found:.3g}"
    return word if known is not None else f"*{word}*"


def _reckoned(series: dict[str, list[float]], n_slides: int) -> float:
    return series["seconds"][-1] * n_slides / series["x"][-1]


def picture(found: dict[str, Any]) -> Figure:
    """Seconds over slides and over K, both axes logarithmic, with fitted exponents; dotted and open: reckoned."""
    figure = Figure(figsize=(9, 5.6), layout="constrained")
    colors = list(OKABE_ITO.values())
    for axes, axis in zip(figure.subplots(1, 2), ("slides", "K"), strict=True):
        for (name, series), color in zip(found[axis].items(), colors, strict=False):
            _draw(axes, name, series, color, "o-")
        if axis == "slides":
            for row, (_, series), color in zip(found["large"], list(found[axis].items())[1:], colors[1:], strict=False):
                _draw_beyond(axes, series, row["slides"], row["seconds"], color, "o")
            for (name, series), color in zip(found["epoch"]["seconds"].items(), colors[3:], strict=False):
                _draw(axes, f"epoch: {name}", series, color, "s--")
                if series["x"][-1] < _LARGE:
                    _draw_beyond(axes, series, _LARGE, _reckoned(series, _LARGE), color, "s")
        else:
            axes.set_xticks(series["x"], [f"{x:,}" for x in series["x"]])
            axes.set_xticks([], minor=True)
        axes.set_xlabel(axis)
        axes.set_ylabel("seconds")
        axes.grid(which="major", alpha=0.3)
        axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(0.0, -0.13))
    return figure


def _draw(axes: Axes, name: str, series: dict[str, list[float]], color: str, style: str) -> None:
    power = exponent(series["x"], series["seconds"])
    axes.loglog(series["x"], series["seconds"], style, color=color, label=f"{name} (exponent {power:.2f})")


def _draw_beyond(
    axes: Axes, series: dict[str, list[float]], n_slides: int, seconds: float, color: str, marker: str
) -> None:
    axes.loglog([series["x"][-1], n_slides], [series["seconds"][-1], seconds], ":", color=color)
    axes.loglog([n_slides], [seconds], marker, color=color, markerfacecolor="none")


def main() -> None:
    """Measure and write ``scaling.md``, ``scaling.png`` and the raw numbers."""
    parser = argparse.ArgumentParser(prog="scripts/benchmark scaling", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("docs/benchmarks"))
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--resume", action="store_true", help="keep what is there, measure what is missing")
    parser.add_argument("--quick", action="store_true", help="a few small sizes, to see that it works")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    raw = options.output / "raw" / "scaling.json"
    found = measured(options.quick, json.loads(raw.read_text()) if options.resume and raw.exists() else None)
    text = "# Scaling\n\n" + table(found) + "\n![seconds over slides and over K](scaling.png)\n"
    report.keep(options.output, "scaling", found, text)
    picture(found).savefig(options.output / "scaling.png", dpi=130)


if __name__ == "__main__":
    main()
