"""The pieces of the evidence: commands that a user gives, and where their files go."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from bundle.evaluation.features.pooled_features import POOLED

from ..processes import bundle_command
from ..tissue.cohort import Cohort

_HERE = Path(__file__).parent
HARMONIZED = (None, "center_site", "combat")


class Piece(NamedTuple):
    """A command, at most half an hour of it, and what it is called in the record."""

    name: str
    words: list[str]


class Methods(NamedTuple):
    """What is trained: ids of ``configs/train.yaml``, ``settings`` of all, by name what a method changes of them."""

    settings: dict[str, Any]
    methods: dict[str, dict[str, Any]]

    @classmethod
    def read(cls, path: Path = _HERE / "methods.yaml") -> Methods:
        """Of the file."""
        found = yaml.safe_load(path.read_text())
        return cls(found["settings"], found["methods"])


def tokens_piece(options: argparse.Namespace, slides: Path, table: Path, tokens: Path, name: str) -> Piece:
    """Slides to tokens."""
    ids = {"mpp": options.mpp, "patch_size": options.patch_size, "patch_encoder_ckpt": options.patch_encoder}
    contract = {"mean": options.encoder_mean, "std": options.encoder_std, "input_px": options.encoder_input_px}
    ids |= {f"patch_{name}": value for name, value in contract.items() if value is not None}
    words = bundle_command(
        "tokenizing",
        ["configs/tokenize.yaml"],
        dataset_dir=slides,
        slide_table=table,
        tokens_dir=tokens,
        output_dir=tokens.with_name(f"{tokens.name}_log"),
        batch_size=128,
        device=options.device,
        **ids,
    )
    return Piece(name, words)


def model_of(output: Path, name: str, seed: int) -> Path:
    """Weights of a method and a seed."""
    return output / "runs" / f"{name} {seed}" / "model.pt"


def evaluation_of(output: Path, seed: int) -> Path:
    """What evaluating wrote of the corpus."""
    return output / "evaluation" / str(seed)


def second_evaluation_of(output: Path, harmonize: str | None, seed: int) -> Path:
    """What evaluating wrote of the corpus with a second scanner, its sites taken out as ``harmonize`` says."""
    return output / f"second scanner, {harmonize or 'as it is'}" / str(seed)


def training_pieces(options: argparse.Namespace, cohort: Cohort, methods: Methods, seed: int) -> Iterator[Piece]:
    """Each method with a seed."""
    for name, changes in methods.methods.items():
        model = model_of(options.output, name, seed)
        words = bundle_command(
            "training",
            ["configs/train.yaml"],
            dataset_dir=options.tokens,
            slide_table=cohort.table,
            label=options.label,
            output_dir=model.parent,
            model_path=model,
            seed=seed,
            resume=True,
            device=options.device,
            val_interval=10,
            **{**methods.settings, **changes},
        )
        yield Piece(f"training {name} {seed}", words)


def evaluation_piece(
    options: argparse.Namespace,
    cohort: Cohort,
    methods: Mapping[str, Any],
    seed: int,
    *,
    second: Path | None = None,
    harmonize: str | None = None,
) -> Piece:
    """All methods of a seed, and what people would do instead; on the corpus, or on the one with a second scanner.

    Args:
        options: of the command line.
        cohort: the corpus.
        methods: what was trained, by name.
        seed: of training, folds and probes.
        second: table of the corpus with a second scanner; None: the corpus as it is.
        harmonize: how its sites are taken out.
    """
    encoders = {name: str(model_of(options.output, name, seed)) for name in methods}
    ids: dict[str, Any] = {
        "dataset_dir": options.tokens,
        "slide_table": cohort.table,
        "features": ["mean_token", "region_embedding", "regions", "patch_tokens", *POOLED],
        "protocols": ["knn", "linear", "mlp", "mil"],
        "mil_max_patches": 1024,
    }
    folder, name = evaluation_of(options.output, seed), f"evaluation {seed}"
    if second is not None:
        ids = {"dataset_dir": second.parent / "tokens", "slide_table": second, "protocols": ["knn", "linear"]}
        ids["features"] = ["mean_token", "region_embedding"]
        if harmonize is not None:
            ids["harmonize"] = harmonize
        folder = second_evaluation_of(options.output, harmonize, seed)
        name = f"{folder.parent.name}: evaluation {seed}"
    words = bundle_command(
        "evaluating",
        ["configs/evaluate.yaml"],
        **ids,
        output_dir=folder,
        encoders=encoders,
        untrained=True,
        label=options.label,
        classes=cohort.classes,
        n_folds=options.n_folds,
        train_fractions=[1.0],
        n_bootstrap=500,
        seed=seed,
        device=options.device,
    )
    return Piece(name, words)


def outline_piece(options: argparse.Namespace, methods: Mapping[str, Any], seed: int) -> Piece:
    """What embeddings of an evaluation say of the outline of the tissue."""
    encoders = {name: str(model_of(options.output, name, seed)) for name in methods}
    evaluation = str(evaluation_of(options.output, seed))
    words = [sys.executable, "-m", "scripts.bench.evidence.outlines", str(options.tokens), evaluation]
    return Piece(f"outline {seed}", [*words, "--encoders", json.dumps(encoders), "--seed", str(seed)])


def picture_pieces(options: argparse.Namespace, cohort: Cohort, methods: Methods) -> list[Piece]:
    """Slides colored by prototype, of the last method's first seed."""
    folder, ours = options.output / "pictures", list(methods.methods)[-1]
    infer = bundle_command(
        "inferring",
        ["configs/inference.yaml"],
        dataset_dir=options.tokens,
        slide_table=cohort.table,
        output_dir=folder,
        region_encoder_ckpt=model_of(options.output, ours, options.seeds[0]),
        device=options.device,
    )
    maps = bundle_command(
        "mapping",
        ["configs/maps.yaml"],
        dataset_dir=folder / "embeddings",
        output_dir=folder / "maps",
        slides_dir=cohort.slides,
        slide_table=cohort.table,
        layers=["prototypes"],
        formats=["png"],
    )
    return [Piece("pictures: inference", infer), Piece("pictures: maps", maps)]
