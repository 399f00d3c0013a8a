"""``python -m bundle.pipelines.estimate``: look at a folder of slides, probe this machine, say what a run takes."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from ...cohort import SlideTable
from ...core import ROOT, BundleError, as_whole, check_device, is_not_given
from ...networks import PatchTokenizer, PatchViT, StatedReading, load_patch_encoder
from ...slides import ReadSettings, find_slides
from .budget import Rates, budget, count_regions
from .page import Estimate, as_json, as_text
from .preflight import Look, look_at_slides
from .probes import TrainingProbe, probe_encoding, probe_reading, probe_training
from .stage_one import probe_stage_one

_MAX_PROBED = 4  # slides that the probe of reading takes patches from


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the estimate; 1 where there is nothing to estimate."""
    options = _options(arguments)
    try:
        check_device(options.device)
        options.load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0  # before the probes add to it
        estimate = make_estimate(options)
    except BundleError as error:
        print(f"Stopped: {error}", file=sys.stderr)
        return 1
    print(json.dumps(as_json(estimate), indent=1) if options.json else as_text(estimate), end="")
    return 0


def make_estimate(options: argparse.Namespace) -> Estimate:
    """All of it.

    Raises:
        BundleError: no slide is there, or none is good; a setting or a file is wrong.
    """
    table = SlideTable.read(options.slide_table)
    stated = StatedReading.of(
        None,
        options.patch_encoder_ckpt,
        patch_encoder=options.patch_encoder,
        encoders_file=options.encoders_file,
        mpp=options.mpp,
        patch_size=options.patch_size,
    )
    options.mpp, options.patch_size = stated.mpp, stated.patch_size
    how = ReadSettings(
        options.wsi_reader, options.mpp, options.default_mpp, 16, options.patch_size, options.min_tissue,
        options.min_tissue_patches, options.max_enlarge, not options.drop_fat,
    ).checked()  # fmt: skip
    n_sampled = as_whole(options.sample, "sample")
    slides = find_slides(options.slides, table)
    _say(f"{len(slides):,} slides in {options.slides}: headers of all, tissue of {n_sampled or 'all'}")
    n_drawn = max(2, n_sampled) if n_sampled else None
    looks = look_at_slides(slides, table, how, n_drawn, options.seed, max(1, options.num_workers))
    regions, patches = count_regions(looks, options.seed)
    seen = [look for look in looks if look.regions is not None]
    n_sampled = sum(look.regions is not None or (bool(look.problem) and look.area_mm2 > 0) for look in looks)
    if options.encode_background:
        patches = type(patches)(*(value * how.region_patches**2 for value in regions))
    estimate = Estimate(looks, n_sampled, regions, patches)
    if options.no_probe or not seen:
        return estimate
    return _with_costs(estimate, seen, table, how, options)


def _with_costs(
    estimate: Estimate, seen: Sequence[Look], table: SlideTable, how: ReadSettings, options: argparse.Namespace
) -> Estimate:
    device = torch.device(options.device)
    network, token_dim, notes = _patch_encoder(options, device)
    probed = sorted(seen, key=lambda look: -(look.patches or 0))[:_MAX_PROBED]
    _say("probing: reading, patch encoder, training steps")
    read = probe_reading([look.ref for look in probed], table, how, options.num_workers, options.seconds)
    encode = probe_encoding(network, how.patch_size, device, options.seconds)
    ids = {name: yaml.safe_load(value) for name, _, value in (word.partition("=") for word in options.set)}
    steps = probe_training(_files(options.train_config), ids, token_dim, how.region_patches, device, options.seconds)
    rates = Rates(read, encode, steps.train, steps.recluster, steps.embed)
    n_good = sum(not look.problem for look in estimate.looks)
    costs = budget(estimate.regions.value, estimate.patches.value, n_good, rates, steps.plan)
    if not Path(options.patch_encoder_ckpt).exists():
        _say("probing: a training step of the patch encoder (stage one), as there is none")
        stage = probe_stage_one(_files(options.stage_one_config), how.patch_size, device)
        hours = stage.hours(estimate.patches.value, n_good, rates, overlaps=steps.plan.overlaps)
        costs = costs._replace(stage_one=hours)
        notes.append(
            f"a patch encoder has to be trained first: {stage.max_epochs} epochs of stage one at {stage.train:.3g} "
            "patches/s; weights that there are already save all of it (--patch_encoder_ckpt)"
        )
    return replace(
        estimate,
        rates=rates,
        budget=costs,
        machine=_machine(device),
        max_epochs=steps.plan.max_epochs,
        notes=[*notes, *_notes(estimate, steps, options)],
    )


def _patch_encoder(options: argparse.Namespace, device: torch.device) -> tuple[nn.Module, int, list[str]]:
    """The encoder, its token length, and what has to be said of it."""
    path, is_amp = Path(options.patch_encoder_ckpt), device.type == "cuda"
    if path.exists():
        network = load_patch_encoder(
            path,
            options.patch_size,
            encoder=options.patch_encoder,
            encoders_file=options.encoders_file,
            mean=options.patch_mean,
            std=options.patch_std,
            input_px=options.patch_input_px,
            mpp=options.mpp,
            device=device,
            amp=is_amp,
        )
        return network, network.dim, []
    print(f"no patch encoder at {path}: an untrained ViT-S/16 of the same speed is probed", file=sys.stderr)
    network = PatchTokenizer(PatchViT(), 384, amp=is_amp).to(device)
    return network, 384, [f"there is no patch encoder at {path}: a ViT-S/16 was probed in its place"]


def _notes(estimate: Estimate, steps: TrainingProbe, options: argparse.Namespace) -> list[str]:
    notes = []
    if n_unseen := sum(look.regions is None and not look.problem for look in estimate.looks):
        notes.append(
            f"regions and patches of {n_unseen:,} slides are taken from the {estimate.n_sampled:,} whose tissue was "
            "looked for, in proportion to the slides' areas; --sample 0 looks at all"
        )
    shape = f"{steps.n_regions} regions"
    if steps.n_regions != steps.batch_size:
        shape += f" in place of {steps.batch_size}, in proportion"
    load, n_processors = options.load, os.cpu_count() or 1
    if options.device == "cpu" and load > n_processors / 2:
        notes.append(
            f"the machine is busy (load {load:.1f} on {n_processors} processors): rates are those of a busy machine"
        )
    n_probed = min(_MAX_PROBED, estimate.n_sampled)
    notes += [
        f"rates come from probes of about {options.seconds:g} s each on made-up regions and {n_probed} slides; another "
        "load, a slower disk, or a machine that gets hot changes them",
        f"a training step was timed with {shape}; every step is taken to cost what one with prototypes does",
        "left out: K-means and matching (below a tenth of a per cent of an epoch for 1,000 slides), validation, "
        "checkpoints, starting up",
        "one process; n GPUs share slides and regions, at best in an n-th of the time",
    ]
    return notes


def _say(text: str) -> None:
    """A line beside the estimate, which others may read as JSON."""
    print(text, file=sys.stderr, flush=True)


def _files(configs: Sequence[Path]) -> list[Path]:
    return [path if path.is_file() else ROOT / path for path in configs]


def _machine(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads of {os.cpu_count()} processors"


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="slpd estimate",
        description="Before a long run: which slides are bad, how many regions there are, and what disk and time the "
        "way from slides to a trained encoder and embeddings takes on this machine. Nothing is written.",
    )
    add: Any = parser.add_argument
    add("slides", type=Path, help="folder of slides, searched in depth, or one slide")
    add("--slide_table", type=Path, help="CSV with mpp or roi of slides, as for tokenizing")
    add("--sample", type=int, default=20, help="slides whose tissue is looked for, drawn at random; 0: all (20)")
    add("--seed", type=int, default=0, help="of the draw (0)")
    add("--wsi_reader", default="auto", help="auto, cucim, openslide, tifffile")
    add("--mpp", type=float, help="um/px at which patches are read (as the patch encoder says, else 0.5)")
    add("--default_mpp", type=float, help="um/px of slides that name none")
    add("--max_enlarge", type=float, default=1.25, help="how many times finer than a slide --mpp may be (1.25)")
    add("--patch_size", type=int, help="px (as the patch encoder says, else 256)")
    add("--min_tissue", type=float, default=0.1, help="least share of tissue in a patch (0.1)")
    add("--min_tissue_patches", type=int, default=8, help="a region needs as many (8)")
    add("--drop_fat", action="store_true", help="fat is background (keep_fat false)")
    add("--encode_background", action="store_true", help="all patches of a region are encoded")
    add("--patch_encoder_ckpt", type=Path, default=ROOT / "models" / "patch_encoder.pt", help="the one to be used")
    add("--patch_encoder", help="name of the model, as for tokenizing")
    add("--patch_mean", help="of pixels in [0, 1], three numbers with commas, as for tokenizing")
    add("--patch_std", help="the same")
    add("--patch_input_px", type=int, help="px that the encoder sees, as for tokenizing")
    add("--encoders_file", type=Path, help="YAML with models of your own")
    add("--train_config", type=Path, nargs="+", default=[Path("configs/train.yaml")], help="with mixins, if any")
    stage_one = [Path("configs/train_patch_encoder.yaml")]
    add("--stage_one_config", type=Path, nargs="+", default=stage_one, help="where there is no patch encoder; mixins")
    add("--set", nargs="*", default=[], metavar="ID=VALUE", help="ids of the training config, such as max_epochs=50")
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="where to compute")
    add("--num_workers", type=int, default=4, help="reading threads (4)")
    add("--seconds", type=float, default=5.0, help="of each probe (5)")
    add("--no_probe", action="store_true", help="look at slides only; no disk, no time")
    add("--json", action="store_true", help="JSON in place of the table, with every slide")
    return parser.parse_args(_given(sys.argv[1:] if arguments is None else arguments))


def _given(words: Sequence[str]) -> list[str]:
    """Without options that a word leaves open, as in the configs: ``--slide_table none``."""
    kept, rest = [], list(words)
    while rest:
        option, joined, value = (word := rest.pop(0)).partition("=")
        following = value if joined else rest[0] if rest else "-"
        if option.startswith("--") and is_not_given(option.removeprefix("--"), following):
            rest = rest if joined else rest[1:]
        else:
            kept.append(word)
    return kept


if __name__ == "__main__":
    sys.exit(main())
