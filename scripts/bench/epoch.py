"""``python -m scripts.bench.epoch``: the share of an epoch that re-clustering takes, on simulated slides."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bundle.networks import Distiller, Encoder, LastLayer, ProjectionHead, RegionViT, frozen_copy
from bundle.prototypes import PrototypeBank
from bundle.storage import RegionBatch, RegionBatchSampler, collate_regions
from bundle.training import (
    CrossSlideHandler,
    GradientClipHandler,
    RandTokenCropsd,
    ReclusterHandler,
    RegionFeatures,
    SLPDLoss,
    SlpdTrainer,
    TeacherUpdateHandler,
    make_optimizer,
)

_DIM, _SIDE, _POOL = 32, 16, 1024


class SimulatedRegions(Dataset[Any]):
    """Token grids made when they are asked for: each the mean of two from a pool, no two alike.

    Args:
        n_slides: S.
        n_regions: of each slide.
    """

    def __init__(self, n_slides: int, n_regions: int) -> None:
        self.slide_index = torch.arange(n_slides).repeat_interleave(n_regions)
        self.pool = torch.randn(_POOL, _SIDE, _SIDE, _DIM, generator=torch.Generator().manual_seed(0)).half()

    def __len__(self) -> int:
        return len(self.slide_index)

    def __getitem__(self, index: int) -> Any:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> RegionBatch:
        """Many regions at once, as a token data set gives them."""
        region_id = torch.tensor(indices)
        features = torch.lerp(self.pool[region_id % _POOL], self.pool[region_id // _POOL], 0.5)
        mask = torch.ones(len(indices), _SIDE, _SIDE, dtype=torch.bool)
        slide = self.slide_index[region_id]
        return RegionBatch({"features": features, "mask": mask, "region_id": region_id, "slide": slide})


def measured(n_slides: int, n_regions: int, batch_size: int = 64) -> dict[str, float]:
    """One epoch with re-clustering at its start: seconds of the parts.

    Widths are reduced (D = 32, ViT of 48 x 2 blocks, 2,048 outputs), crops are the paper's (2 of 14 x 14, 8 of 6 x 6).
    """
    torch.manual_seed(0)
    dataset = SimulatedRegions(n_slides, n_regions)
    backbone = RegionViT(in_dim=_DIM, dim=48, depth=2, n_heads=3)
    student = Distiller(Encoder(backbone, ProjectionHead(48, 256, 64)), LastLayer(64, 2048))
    teacher = frozen_copy(student)
    bank = PrototypeBank(4)
    encoder: Any = teacher.encoder
    passes = _Timed(RegionFeatures(encoder, dataset))
    recluster = ReclusterHandler(bank, passes, dataset.slide_index, n_slides, warmup_epochs=0)
    sampler = RegionBatchSampler(len(dataset), batch_size)
    trainer = SlpdTrainer(
        device="cpu",
        max_epochs=1,
        train_data_loader=DataLoader(dataset, batch_sampler=sampler, collate_fn=collate_regions),
        network=student,
        teacher=teacher,
        optimizer=make_optimizer(student),
        loss_function=SLPDLoss(2048),
        view_maker=RandTokenCropsd(),
        prototypes=bank,
        train_handlers=[
            recluster,
            CrossSlideHandler(bank, warmup_epochs=0),
            GradientClipHandler(student),
            TeacherUpdateHandler(student, teacher),
        ],
    )
    trainer.state.teacher_temperature, trainer.state.teacher_momentum = 0.04, 0.996
    start = time.perf_counter()
    trainer.run()
    stats = trainer.state.prototype_stats
    clustering = stats["recluster_seconds"] - passes.seconds
    return {
        "slides": n_slides,
        "regions": len(dataset),
        "threads": torch.get_num_threads(),
        "epoch": time.perf_counter() - start,
        "teacher": passes.seconds,
        "K-means": clustering,
        "matching": stats["matching_seconds"],
    }


class _Timed:
    """Region features, and the seconds they took."""

    def __init__(self, features: RegionFeatures) -> None:
        self.features, self.seconds = features, 0.0

    def __call__(self) -> Tensor:
        start = time.perf_counter()
        found = self.features()
        self.seconds = time.perf_counter() - start
        return found


def table(found: dict[str, float]) -> str:
    """Markdown."""
    lines = ["| part of an epoch | seconds | share |", "|---|---|---|"]
    rows = {name: found[name] for name in ("teacher", "K-means", "matching")}
    rows["K-means and matching"] = found["K-means"] + found["matching"]
    rows["whole re-clustering"] = sum(found[name] for name in ("teacher", "K-means", "matching"))
    rows["epoch"] = found["epoch"]
    lines += [f"| {name} | {seconds:.2f} | {seconds / found['epoch']:.2%} |" for name, seconds in rows.items()]
    return "\n".join(lines) + "\n"


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
    (options.output / "raw").mkdir(parents=True, exist_ok=True)
    (options.output / "raw" / "epoch.json").write_text(json.dumps(found, indent=1) + "\n")
    about = f"{options.slides:,} simulated slides of {options.regions} regions, {options.threads} thread(s) of a CPU, "
    about += "reduced widths (D = 32, ViT of 48 x 2 blocks, 2,048 outputs), the paper's crops, K = 4, R = 1."
    text = f"# Re-clustering within an epoch\n\n{about}\n\n{table(found)}"
    (options.output / "epoch.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
