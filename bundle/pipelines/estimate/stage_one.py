"""A short probe of stage one, and what it will take: where there is no patch encoder, it is the longest step."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.utils.data import Dataset

from ...core import as_bool, quietly, scratch_folder
from .budget import Rates
from .probes import load_config, parse_to_probe, timed_steps

_BATCH_ON_CPU = 4  # a step of it takes seconds; time is in proportion to the patches


class MadeUpPatches(Dataset[dict[str, Any]]):
    """Patches of noise, as :class:`bundle.slides.PatchDataset` gives those of slides.

    Args:
        n: how many.
        px: on a side.
    """

    def __init__(self, n: int, px: int) -> None:
        self.image = torch.randint(0, 256, (n, 3, px, px), dtype=torch.uint8)

    def __len__(self) -> int:
        return len(self.image)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"image": self.image[index], "region_id": index, "slide": 0}


class StageOne(NamedTuple):
    """What stage one's config will do, and how fast a step of it is.

    Attributes:
        train: patches a second through a training step.
        max_epochs: of the config.
        patches_per_slide: that are drawn; None: all.
        caches: patches are read once.
    """

    train: float
    max_epochs: int
    patches_per_slide: int | None
    caches: bool

    def hours(self, patches: float, n_slides: int, rates: Rates, *, overlaps: bool) -> float:
        """All epochs.

        Args:
            patches: of the cohort.
            n_slides: good ones.
            rates: of this machine.
            overlaps: patches are read while others are computed, on another device.
        """
        n = patches if self.patches_per_slide is None else min(patches, self.patches_per_slide * n_slides)
        step, read = n / self.train, n / rates.read
        if self.caches:
            return (read + self.max_epochs * step) / 3600
        return self.max_epochs * (max(step, read) if overlaps else step + read) / 3600


def probe_stage_one(configs: Sequence[str | Path], patch_size: int, device: torch.device) -> StageOne:
    """A few steps of the trainer that the config makes, on made-up patches; the first does not count.

    Args:
        configs: ``configs/train_patch_encoder.yaml`` and mixins.
        patch_size: px.
        device: where it will compute; a CPU gets steps of four patches, a GPU the config's batch.
    """
    with scratch_folder(tempfile.gettempdir(), "estimate") as folder, quietly():
        config = load_config(configs, {})
        n = int(config["batch_size"]) if device.type == "cuda" else min(int(config["batch_size"]), _BATCH_ON_CPU)
        n_steps = 3 if device.type == "cuda" else 2
        drawn, caches = config["patches_per_slide"], as_bool(config["cache"])
        stage = StageOne(0.0, int(config["max_epochs"]), None if drawn is None else int(drawn), caches)
        where = {"output_dir": str(folder), "device": str(device)}
        config.update({**where, "batch_size": n, "num_workers": 0, "max_epochs": 1})
        config["train"]["dataset"] = {"_target_": f"{__name__}.MadeUpPatches", "n": n_steps * n, "px": patch_size}
        trainer = parse_to_probe(config).get_parsed_content("train#trainer")
        steps = timed_steps(trainer, device)
        trainer.run()
        return stage._replace(train=n / min(steps[1:]))
