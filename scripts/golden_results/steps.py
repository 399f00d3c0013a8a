"""What is run at a commit: a small cohort through every verb of the configs, named by what outlives moves of code."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

COHORT = (8, 5)  # slides, and about how many regions of each
PLANTED = """
import importlib, importlib.util, numpy
name = next(n for n in ("bundle.demo", "bundle.synthetic") if importlib.util.find_spec(n))
planted_tokens = importlib.import_module(name + ".planted").planted_tokens
for title, options in {
    "plain": {},
    "stained": {"n_sites": 2, "site_shift": 0.3, "site_gain": 0.2, "slide_gain": 0.1, "cells": 2, "in_turn": True},
}.items():
    cohort = planted_tokens(4, (3, 6), 16, seed=3, **options)
    arrays = {k: getattr(cohort, k) for k in ("types", "shares", "mixtures")}
    for slide in cohort.slides:
        arrays |= {f"{slide.slide_id}/{k}": v for k, v in slide._asdict().items() if k != "slide_id"}
    numpy.savez(f"planted/{title}.npz", **arrays)
"""


@dataclass(frozen=True)
class Paths:
    """Where a chain finds things.

    Attributes:
        tree: the commit's files.
        real_slide: a slide from a scanner; None: there is none at hand, and its step is left out.
        schema: copy of the metadata's schema, for the package's checks; None: they skip it.
    """

    tree: Path
    real_slide: Path | None = None
    schema: Path | None = None

    def configs(self, *names: str) -> str:
        """Value of ``--config_file``."""
        found = [str(self.tree / "configs" / f"{name}.yaml") for name in names]
        return found[0] if len(found) == 1 else repr(found)


@dataclass(frozen=True)
class Step:
    """One process of the chain, started in the folder of results.

    Attributes:
        name: of its log.
        arguments: what the interpreter is given.
        keep: what the process says goes into this file, a result like others; None: it is only logged.
        needs: the step is left out where this says no.
    """

    name: str
    arguments: Callable[[Paths], list[str]]
    keep: str | None = None
    needs: Callable[[Paths], bool] = field(default=lambda _: True)


def module_of(script: Path) -> str:
    """The module that a start script hands over to: ``bundle.packaging`` of ``python -m bundle.packaging "$@"``.

    Raises:
        ValueError: there is none in the script.
    """
    found = re.findall(r"(?<=\s)-m\s+\"?([a-z_]+(?:\.[a-z_]+)+)\"?(?=\s)", script.read_text(encoding="utf-8"))
    own = [name for name in found if not name.startswith("monai.")]
    if not own:
        raise ValueError(f"{script} starts no module of its own; name the way it goes now in {Path(__file__).name}.")
    return own[-1]


def slide_maker(tree: Path) -> str:
    """The module that draws demo slides."""
    return "bundle.demo" if (tree / "bundle" / "demo" / "__main__.py").is_file() else "bundle.synthetic"


def draw_slides(tree: Path, folder: str, n_slides: int, regions: int) -> list[str]:
    """Arguments that draw demo slides."""
    options = {"n_slides": n_slides, "regions": regions, "seed": 0, "n_workers": 2}
    return ["-m", slide_maker(tree), "--output_dir", folder, *_options(options)]


def _options(options: Mapping[str, object]) -> list[str]:
    return [word for name, value in options.items() for word in (f"--{name}", str(value))]


def _verb(verb: str, configs: str | tuple[str, ...], **options: object) -> Callable[[Paths], list[str]]:
    names = (configs,) if isinstance(configs, str) else configs

    def arguments(paths: Paths) -> list[str]:
        given = {"config_file": paths.configs(*names), "bundle_root": paths.tree, "device": "cpu"} | options
        return ["-m", "monai.bundle", "run", verb, *_options(given)]

    return arguments


_TABLE = {"slide_table": "slides/cohort.csv"}
_PATCHES = {"mpp": 2.0, "patch_size": 64, "patch_encoder_ckpt": "models/patch_encoder.pt"}
_DEMO = ("train", "demo_train")
_SMALL = {"batch_size": 16, "out_dim": 512, "hidden_dim": 128, "bottleneck_dim": 64, "lr_warmup_epochs": 1}
_EMBEDDED = {"dataset_dir": "inference/embeddings", "slides_dir": "slides"} | _TABLE
_FEW_EMBEDDED = _EMBEDDED | {"dataset_dir": "inference_slides/embeddings"}
_QUERY = {"index_dir": "search/index", "query": "demo_03", "slides_dir": "slides", "k_neighbors": 3} | _TABLE


def _package(paths: Paths) -> list[str]:
    given = {"model": "models/model.pt", "patch_encoder": "models/patch_encoder.pt", "output_dir": "package"}
    given |= {"schema": str(paths.schema)} if paths.schema is not None else {}
    return ["-m", module_of(paths.tree / "scripts" / "package"), *_options(given)]


def _tokenize_real(paths: Paths) -> list[str]:
    return _verb(
        "tokenizing",
        "tokenize",
        dataset_dir=paths.real_slide,
        tokens_dir="real/tokens",
        output_dir="real/tokenize",
        **_PATCHES,
    )(paths)


STEPS = [
    Step("draw slides", lambda paths: draw_slides(paths.tree, "drawn", 3, 4)),
    Step("planted cohort", lambda _: ["-c", PLANTED]),
    Step(
        "train patch encoder",
        _verb(
            "training",
            ("train_patch_encoder", "demo_patch_encoder"),
            dataset_dir="slides",
            output_dir="patch_encoder",
            model_path="models/patch_encoder.pt",
            patches_per_slide=24,
            batch_size=32,
            checkpoint_interval=1,
        ),
    ),
    Step(
        "tokenize",
        _verb(
            "tokenizing",
            "tokenize",
            dataset_dir="slides",
            tokens_dir="tokens",
            output_dir="tokenize",
            batch_size=64,
            **_PATCHES,
            **_TABLE,
        ),
    ),
    Step(
        "tokenize another way",
        _verb(
            "tokenizing",
            "tokenize",
            dataset_dir="slides/demo_01.tif",
            tokens_dir="tokens_coarse",
            output_dir="tokenize_coarse",
            wsi_reader="openslide",
            encode_background="true",
            dtype="float32",
            min_tissue=0.3,
            **_PATCHES | {"mpp": 3.1},
        ),
    ),
    Step(
        "train",
        _verb(
            "training",
            _DEMO,
            dataset_dir="tokens",
            output_dir="slpd",
            model_path="models/model.pt",
            slides_dir="slides",
            max_epochs=5,
            prototype_warmup_epochs=2,
            min_regions=3,
            checkpoint_interval=3,
            **_SMALL,
            **_TABLE,
        ),
    ),
    Step(
        "train another way",
        _verb(
            "training",
            _DEMO,
            dataset_dir="tokens",
            output_dir="slpd_other",
            model_path="slpd_other/model.pt",
            max_epochs=3,
            prototype_warmup_epochs=1,
            token_shift="covariance",
            kmeans_backend="faiss",
            n_neighbors=2,
            prototype_match="nearest",
            skip_same_view_prototypes="true",
            center_update_per_loss="true",
            seed=1,
            region_encoder_ckpt="models/model.pt",
            **_SMALL,
        ),
    ),
    Step(
        "infer from tokens",
        _verb(
            "inferring",
            "inference",
            dataset_dir="tokens",
            output_dir="inference",
            region_encoder_ckpt="models/model.pt",
            file_type="both",
            **_TABLE,
        ),
    ),
    Step(
        "infer from slides",
        _verb(
            "inferring",
            "inference",
            dataset_dir="few_slides",
            output_dir="inference_slides",
            region_encoder_ckpt="models/model.pt",
            **_PATCHES,
            **_TABLE,
        ),
    ),
    Step(
        "map",
        _verb(
            "mapping",
            "maps",
            output_dir="maps",
            formats="['png','geojson','tiff','nifti','tokens']",
            thumbnail_px=512,
            **_FEW_EMBEDDED,
        ),
    ),
    Step("project", _verb("projecting", "maps", output_dir="maps", **_EMBEDDED)),
    Step("chart", _verb("charting", "atlas", output_dir="atlas", **_EMBEDDED)),
    Step("index", _verb("indexing", "search", index_dir="search/index", dataset_dir="inference/embeddings", **_TABLE)),
    *(
        Step(f"query {by}", _verb("querying", "search", by=by, output_dir=f"search/{by}", **_QUERY))
        for by in ("sets", "embedding", "regions")
    ),
    Step(
        "evaluate",
        _verb(
            "evaluating",
            "evaluate",
            dataset_dir="tokens",
            output_dir="evaluation",
            encoders="{'SLPD': 'models/model.pt'}",
            n_folds=2,
            n_prototypes=2,
            n_bootstrap=100,
            slides_dir="slides",
            **_TABLE,
        ),
    ),
    Step(
        "evaluate survival",
        _verb(
            "evaluating",
            "evaluate",
            dataset_dir="inference/embeddings",
            output_dir="evaluation_survival",
            time="time",
            event="event",
            n_folds=2,
            n_bootstrap=100,
            **_TABLE,
        ),
    ),
    Step(
        "evaluate grades",
        _verb(
            "evaluating",
            "evaluate",
            dataset_dir="inference/embeddings",
            output_dir="evaluation_grades",
            label="grade",
            ordered="true",
            n_folds=2,
            protocols="['knn','linear']",
            train_fractions="[1.0]",
            n_bootstrap=100,
            **_TABLE,
        ),
    ),
    Step("tokenize the real slide", _tokenize_real, needs=lambda paths: paths.real_slide is not None),
    Step("package", _package, keep="package/said.txt"),
]


def steps_for(paths: Paths) -> list[Step]:
    """The steps that can be done here."""
    return [step for step in STEPS if step.needs(paths)]


def fingerprint(paths: Paths) -> str:
    """Of what the chain asks for; not of the modules that do it, which may move while results stay comparable."""
    asked = [(step.name, step.keep, step.arguments(paths)[2:]) for step in steps_for(paths)]
    text = repr([COHORT, *(part for part in asked if part[0] != "planted cohort")])
    return hashlib.sha256(text.replace(str(paths.tree), "").encode()).hexdigest()
