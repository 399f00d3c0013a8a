"""``python -m scripts.bench.epoch``: the share of an epoch that re-clustering takes, on simulated slides."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import yaml
from torch import Tensor

from bundle.core import quietly
from bundle.training import RegionFeatures

from . import report
from .cohort import MadeUpTokens
from .learning.training import parse

_DIM, _SIDE, _POOL = 32, 16, 1024
_IDS = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))


class SimulatedRegions(MadeUpTokens):
    """Token grids made when they are asked for: each the mean of two from a pool, no two alike.

    Args:
        n_slides: S.
        n_regions: of each slide.
    """

    has_missing = False

    def __init__(self, n_slides: int, n_regions: int) -> None:
        super().__init__([f"slide_{i}" for i in range(n_slides)], torch.full((n_slides,), n_regions), _DIM)
        self.pool = torch.randn(_POOL, _SIDE, _SIDE, _DIM, generator=torch.Generator().manual_seed(0)).half()

    def grids(self, region_id: Tensor) -> tuple[Tensor, Tensor]:
        """Token grids [n, 16, 16, 32], and masks that hide nothing."""
        features = torch.lerp(self.pool[region_id % _POOL], self.pool[region_id // _POOL], 0.5)
        return features, torch.ones(len(region_id), _SIDE, _SIDE, dtype=torch.bool)


class TimedFeatures(RegionFeatures):
    """Region features, and the seconds they took."""

    def __call__(self) -> Tensor:
        """Features of all regions [N, d]."""
        start = time.perf_counter()
        found = super().__call__()
        self.seconds = time.perf_counter() - start
        return found


def measured(n_slides: int, n_regions: int) -> dict[str, float]:
    """One epoch of ``configs/train.yaml`` with re-clustering at its start: seconds of the parts.

    Widths are reduced (D = 32, ViT of 48 x 2 blocks, 2,048 outputs), crops are the paper's (2 of 14 x 14, 8 of 6 x 6).
    """
    dataset = SimulatedRegions(n_slides, n_regions)
    with TemporaryDirectory() as folder, quietly():
        parser = parse(dataset, Path(folder), _IDS, features=f"{__name__}.{TimedFeatures.__name__}")
        parser.get_parsed_content("begin")
        trainer = parser.get_parsed_content("train#trainer")
        start = time.perf_counter()
        trainer.run()
        seconds = time.perf_counter() - start
    teacher, stats = parser.get_parsed_content("region_features").seconds, trainer.state.prototype_stats
    return {
        "slides": n_slides,
        "regions": len(dataset),
        "threads": torch.get_num_threads(),
        "epoch": seconds,
        "teacher": teacher,
        "K-means": stats["recluster_seconds"] - teacher,
        "matching": stats["matching_seconds"],
    }


def table(found: dict[str, float]) -> str:
    """Markdown."""
    parts = {name: found[name] for name in ("teacher", "K-means", "matching")}
    parts["K-means and matching"] = found["K-means"] + found["matching"]
    parts["whole re-clustering"] = found["teacher"] + parts["K-means and matching"]
    parts["epoch"] = found["epoch"]
    rows = [(name, f"{seconds:.2f}", f"{seconds / found['epoch']:.2%}") for name, seconds in parts.items()]
    return report.table(("part of an epoch", "seconds", "share"), rows)


def main() -> None:
    """Measure and write ``epoch.md`` and the raw numbers."""
    parser = argparse.ArgumentParser(prog="scripts/benchmark epoch", description=__doc__)
    parser.add_argument("--slides", type=int, default=1000)
    parser.add_argument("--regions", type=int, default=60, help="of each slide")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--output", type=Path, default=Path("docs/benchmarks"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    found = measured(options.slides, options.regions)
    about = f"{options.slides:,} simulated slides of {options.regions} regions, {options.threads} thread(s) of a CPU, "
    about += "reduced widths (D = 32, ViT of 48 x 2 blocks, 2,048 outputs), the paper's crops, K = 4, R = 1."
    report.keep(options.output, "epoch", found, f"# Re-clustering within an epoch\n\n{about}\n\n{table(found)}")


if __name__ == "__main__":
    main()
