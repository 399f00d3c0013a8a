"""Short probes of the real parts on this machine: reading, encoding, a training step, inference."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.bundle import ConfigParser
from torch import nn
from torch.utils.benchmark import Timer

from ...cohort import SlideRef, SlideTable
from ...core import CONFIGS, BundleError, quietly, scratch_folder, target_of
from ...networks import RegionDescriber
from ...slides import ReadSettings
from ...storage import TokenFileWriter
from ..slide_source import PatchStream
from .budget import Plan

_WORKING_HANDLERS = {"CrossSlideHandler", "ReclusterHandler", "dino_schedules", "dino_updates"}


class TrainingProbe(NamedTuple):
    """What a few steps of the real trainer told.

    Attributes:
        train, recluster, embed: regions a second.
        n_regions: in the step that was timed.
        batch_size: of the config: regions in a step of the run itself.
        plan: what the config's run will do.
    """

    train: float
    recluster: float
    embed: float
    n_regions: int
    batch_size: int
    plan: Plan


def probe_reading(
    slides: Sequence[SlideRef], table: SlideTable, how: ReadSettings, num_workers: int = 4, seconds: float = 5.0
) -> float:
    """Patches a second that the tokenizer's own stream delivers from these slides, tissue finding included.

    Raises:
        BundleError: not one patch could be read.
    """
    stream = PatchStream(slides, "unused", table=table, **how._asdict(), batch_size=32, num_workers=num_workers)
    with quietly():
        started, n_patches = time.perf_counter(), 0
        for batch in stream:
            n_patches += len(batch["image"])
            if time.perf_counter() - started > seconds:
                break
        stream.close()
    if not n_patches:
        raise BundleError(f"no patch of {len(slides)} slides could be read, the first is {slides[0].path}.")
    return n_patches / (time.perf_counter() - started)


def probe_encoding(network: nn.Module, patch_size: int, device: torch.device, seconds: float = 5.0) -> float:
    """Patches a second through the patch encoder, in batches as tokenizing makes them."""
    n = 256 if device.type == "cuda" else 16
    image = torch.randint(0, 256, (n, 3, patch_size, patch_size), dtype=torch.uint8)
    with torch.inference_mode():
        return n / _seconds_of(lambda: network(image.to(device)), seconds)


def probe_training(
    configs: Sequence[str | Path],
    ids: dict[str, Any],
    token_dim: int,
    region_patches: int,
    device: torch.device,
    seconds: float = 5.0,
) -> TrainingProbe:
    """Three epochs of the trainer that the config makes, two steps each, on made-up tokens; the last is timed.

    A step has the config's batch on a GPU, 16 regions of it on a CPU, where time is in proportion.

    Args:
        configs: ``configs/train.yaml`` and mixins.
        ids: other values of the config's ids.
        token_dim: values of a token.
        region_patches: patches on the side of a region, in what will be tokenized.
        device: where training will compute.
        seconds: least time of the probe of inference.

    Raises:
        BundleError: a file or an id is not in the config.
    """
    with scratch_folder(tempfile.gettempdir(), "estimate") as folder, quietly():
        config = load_config(configs, ids)
        n = int(config["batch_size"]) if device.type == "cuda" else min(int(config["batch_size"]), 16)
        _write_tokens(folder, 2 * n, token_dim, int(config["global_size"]))
        given = {"dataset_dir": str(folder), "output_dir": str(folder), "device": str(device), "batch_size": n}
        config.update({**given, "num_workers": 0, "max_epochs": 3, "prototype_warmup_epochs": 1, "slide_table": None})
        return _probe(parse_to_probe(config), config | load_config(configs, ids), n, region_patches, device, seconds)


def parse_to_probe(config: dict[str, Any]) -> ConfigParser:
    """A training config, parsed, without the handlers that record, show and save: they are taken from it."""
    handlers = config["train"]["handlers"]
    config["train"]["handlers"] = [h for h in handlers if target_of(h).rpartition(".")[2] in _WORKING_HANDLERS]
    parser = ConfigParser(config)
    parser.read_meta(str(CONFIGS / "metadata.json"))
    parser.parse(True)
    return parser


def _probe(
    parser: ConfigParser, config: dict[str, Any], n: int, region_patches: int, device: torch.device, seconds: float
) -> TrainingProbe:
    trainer = parser.get_parsed_content("train#trainer")
    steps = timed_steps(trainer, device)
    trainer.run()
    recluster = 2 * n / _seconds_of(parser.get_parsed_content("region_features"), 0.0)
    encoder = parser.get_parsed_content("teacher").encoder
    describe = RegionDescriber(encoder)
    n_embedded = 64 if device.type == "cuda" else 8
    side = parser.get_parsed_content("dataset").region_patches
    image = torch.randn(n_embedded, encoder.backbone.in_dim, side, side, device=device)
    with torch.inference_mode():
        found = describe(image)
        embed = n_embedded / _seconds_of(lambda: describe(image), seconds / 2)
    objects = parser.get_parsed_content("run_state").objects
    interval, max_epochs = int(config["checkpoint_interval"]), int(config["max_epochs"])
    plan = Plan(
        token_dim=encoder.backbone.in_dim,
        region_patches=region_patches,
        embedding_values=found["pred"].shape[1] + found["projection"].shape[1],
        n_heads=found["attention"].shape[1],
        checkpoint_bytes=sum(_bytes_of(thing.state_dict()) for thing in objects.values()),
        n_checkpoints=2 + (max_epochs // interval if interval else 0),  # last.pt and best.pt
        max_epochs=max_epochs,
        warmup_epochs=int(config["prototype_warmup_epochs"]),
        overlaps=device.type == "cuda",
    )
    return TrainingProbe(n / min(steps[-2:]), recluster, embed, n, int(config["batch_size"]), plan)


def load_config(configs: Sequence[str | Path], ids: dict[str, Any]) -> dict[str, Any]:
    """What config files say, with other values of some ids.

    Raises:
        BundleError: an id is not one of theirs.
    """
    config = ConfigParser.load_config_files([str(path) for path in configs])
    unknown = sorted(set(ids) - set(config))
    if unknown:
        raise BundleError(f"{configs[0]} has no id {', '.join(unknown)}; its ids stand at its top.")
    config.update(ids)
    return config


def _write_tokens(folder: Path, n_regions: int, dim: int, least_side: int) -> None:
    """Two slides of made-up tokens, in one file each."""
    side = max(16, least_side)
    rng = np.random.default_rng(0)
    for slide in range(2):
        n = n_regions // 2
        coords = np.stack([np.arange(n) * 4096, np.zeros(n)], 1).astype(np.int64)
        with TokenFileWriter(
            folder / f"slide_{slide}.h5",
            region_patches=side,
            dim=dim,
            coords=coords,
            mask=np.ones((n, side, side), bool),
            attributes={"slide_id": f"slide_{slide}", "encoder": "made up", "mpp": 0.5},
        ) as file:
            for region in range(n):
                file.write(region, rng.standard_normal((side, side, dim), dtype=np.float32))


def timed_steps(trainer: Engine, device: torch.device) -> list[float]:
    """Seconds of each iteration, filled while the engine runs."""
    found: list[float] = []
    started = [0.0]

    @trainer.on(Events.ITERATION_STARTED)
    def _start() -> None:
        _wait_for(device)
        started[0] = time.perf_counter()

    @trainer.on(Events.ITERATION_COMPLETED)
    def _stop() -> None:
        _wait_for(device)
        found.append(time.perf_counter() - started[0])

    return found


def _seconds_of(work: Callable[[], Any], seconds: float) -> float:
    """Mean time of a call, after some that do not count, over at least ``seconds``."""
    timer = Timer("work()", globals={"work": work}, num_threads=torch.get_num_threads())
    return float(timer.blocked_autorange(min_run_time=seconds).mean)


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _bytes_of(state: Any) -> int:
    if isinstance(state, torch.Tensor):
        return state.numel() * state.element_size()
    if isinstance(state, dict):
        return sum(_bytes_of(value) for value in state.values())
    return sum(_bytes_of(value) for value in state) if isinstance(state, list | tuple) else 0
