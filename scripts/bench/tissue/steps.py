"""The steps as the commands that a user gives, with the point at which training is killed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from bundle.core import read_history

from ..processes import bundle_command
from .cohort import Cohort

_MIXINS = "scripts/bench/tissue"


class Step(NamedTuple):
    """A command, and when it is killed: as soon as ``until``, asked with the process's id, is true; None: never."""

    name: str
    words: list[str]
    until: Callable[[int], bool] | None = None


def steps_of_slides(options: argparse.Namespace, cohort: Cohort) -> list[Step]:
    """A patch encoder, unless one is given, and our own tokens: what features are made of."""
    output: Path = options.output
    slides = {"dataset_dir": cohort.slides, "slide_table": cohort.table, "device": options.device}
    slides |= {"mpp": options.mpp, "patch_size": options.patch_size}
    configs = ["configs/train_patch_encoder.yaml", "configs/demo_patch_encoder.yaml", f"{_MIXINS}/patch_encoder.yaml"]
    encoder = output / "patch_encoder.pt"
    train = bundle_command("training", configs, **slides, output_dir=output / "patch_encoder", model_path=encoder)
    tokenize = bundle_command(
        "tokenizing",
        ["configs/tokenize.yaml"],
        **slides,
        tokens_dir=output / "tokens",
        output_dir=output / "tokenize",
        patch_encoder_ckpt=options.patch_encoder or encoder,
        batch_size=64,
        num_workers=2,
    )
    steps = [Step("stage one: a patch encoder", train), Step("slides to tokens", tokenize)]
    return steps[1:] if options.patch_encoder else steps


def steps_of_width(options: argparse.Namespace, cohort: Cohort, width: int) -> list[Step]:
    """From features of a width to a search among their slides."""
    own, folder = options.output / "tokens", options.output / f"d{width}"
    features, tokens, model = folder / "features", folder / "tokens", folder / "model.pt"
    known = {"slide_table": cohort.table, "device": options.device}
    ours = [sys.executable, "-m", "scripts.bench.tissue.features"]
    size = ["--width", str(width)]
    importing = bundle_command(
        "importing",
        ["configs/import.yaml"],
        dataset_dir=features,
        tokens_dir=tokens,
        output_dir=folder / "import",
        slides_dir=cohort.slides,
        **known,
    )
    half = max(1, options.max_epochs // 2)
    train = partial(
        bundle_command,
        "training",
        ["configs/train.yaml", f"{_MIXINS}/train.yaml"],
        dataset_dir=tokens,
        output_dir=folder / "slpd",
        model_path=model,
        label=options.label,
        max_epochs=options.max_epochs,
        **known,
    )
    return [
        Step("features written in TRIDENT's layout", [*ours, "write", str(own), str(features), *size]),
        Step("import", importing),
        Step(
            "compared with our own tokens",
            [*ours, "compare", str(own), str(tokens), *size, "--result", str(folder / "compared.json")],
        ),
        Step(f"training, killed after epoch {half}", train(), partial(_has_saved, folder / "slpd", half)),
        Step(f"training, resumed, to epoch {options.max_epochs}", train(resume=True)),
        *_after_training(options, cohort, folder),
    ]


def _after_training(options: argparse.Namespace, cohort: Cohort, folder: Path) -> list[Step]:
    tokens, model, embeddings = folder / "tokens", folder / "model.pt", folder / "inference" / "embeddings"
    known = {"slide_table": cohort.table, "device": options.device}
    evaluate = bundle_command(
        "evaluating",
        ["configs/evaluate.yaml"],
        dataset_dir=tokens,
        output_dir=folder / "slide_level",
        encoders={"SLPD": str(model)},
        slides_dir=cohort.slides,
        label=options.label,
        classes=cohort.classes,
        n_folds=options.n_folds,
        train_fractions=[1.0],  # a share of so few patients would lack classes
        **known,
    )
    infer = bundle_command(
        "inferring",
        ["configs/inference.yaml"],
        dataset_dir=tokens,
        output_dir=folder / "inference",
        region_encoder_ckpt=model,
        **known,
    )
    maps = bundle_command(
        "mapping",
        ["configs/maps.yaml"],
        dataset_dir=embeddings,
        output_dir=folder / "maps",
        slides_dir=cohort.slides,
        **known,
    )
    search = bundle_command(
        "searching",
        ["configs/search.yaml"],
        dataset_dir=embeddings,
        output_dir=folder / "search",
        index_dir=folder / "search" / "index",
        slides_dir=cohort.slides,
        query=embeddings,
        **known,
    )
    names = ("evaluation", "inference", "maps", "search, every slide asked for")
    return [Step(name, words) for name, words in zip(names, (evaluate, infer, maps, search), strict=True)]


def _has_saved(folder: Path, epoch: int, _pid: int) -> bool:
    """Whether the epoch stands in the history, and the checkpoint of its end, which is written later, is there."""
    history, checkpoint = folder / "history.csv", folder / "last.pt"
    if epoch not in epochs_of(history) or not checkpoint.exists():
        return False
    return checkpoint.stat().st_mtime >= history.stat().st_mtime


def epochs_of(history: Path) -> list[int]:
    """Epochs of the rows of a run's ``history.csv``; none where it is not there yet."""
    if not history.exists():
        return []
    return [int(row["epoch"]) for row in read_history(history)]
