"""What is run at a commit: a small cohort through every verb of the configs, named by what outlives moves of code."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

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


class Paths(NamedTuple):
    """Where a chain finds things.

    Attributes:
        tree: the commit's files.
        real_slide: a slide from a scanner; None: there is none at hand, and its step is left out.
        schema: copy of the metadata's schema, for the package's checks; None: they skip it.
    """

    tree: Path
    real_slide: Path | None = None
    schema: Path | None = None


class Step(NamedTuple):
    """One process of the chain, started in the folder of results.

    Attributes:
        name: of its log.
        arguments: what the interpreter is given.
        keep: what the process says goes into this file, a result like others; None: it is only logged.
    """

    name: str
    arguments: list[str]
    keep: str | None = None


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


def draw_slides(tree: Path, folder: str, n_slides: int, regions: int) -> list[str]:
    """Arguments that draw demo slides."""
    module = "bundle.demo" if (tree / "bundle" / "demo" / "__main__.py").is_file() else "bundle.synthetic"
    options = {"output_dir": folder, "n_slides": n_slides, "regions": regions, "seed": 0, "n_workers": 2}
    return ["-m", module, *option_words(options)]


def option_words(options: Mapping[str, Any]) -> list[str]:
    """``--name value`` of each; None: a flag without a value."""
    return [word for name, value in options.items() for word in (f"--{name}", *([] if value is None else [str(value)]))]


def _verb(step: Mapping[str, Any], paths: Paths) -> list[str]:
    verb, *names = step["run"].split()
    configs = [str(paths.tree / "configs" / f"{name}.yaml") for name in names]
    given = {"config_file": configs if len(configs) > 1 else configs[0], "bundle_root": paths.tree, "device": "cpu"}
    options = {k: paths.real_slide if value == "REAL_SLIDE" else value for k, value in step["options"].items()}
    return ["-m", "monai.bundle", "run", verb, *option_words(given | options)]


def _package(paths: Paths) -> list[str]:
    given = {"model": "models/model.pt", "patch_encoder": "models/patch_encoder.pt", "output_dir": "package"}
    given |= {"schema": str(paths.schema)} if paths.schema is not None else {}
    return ["-m", module_of(paths.tree / "scripts" / "package"), *option_words(given)]


def steps_for(paths: Paths) -> list[Step]:
    """The steps that can be done here: slides and a planted cohort, the verbs of ``chain.yaml``, then a package."""
    verbs = yaml.safe_load(Path(__file__).with_name("chain.yaml").read_text(encoding="utf-8"))["steps"]
    if paths.real_slide is None:
        verbs = [step for step in verbs if "REAL_SLIDE" not in step["options"].values()]
    return [
        Step("draw slides", draw_slides(paths.tree, "drawn", 3, 4)),
        Step("planted cohort", ["-c", PLANTED]),
        *(Step(step["name"], _verb(step, paths)) for step in verbs),
        Step("package", _package(paths), keep="package/said.txt"),
    ]


def fingerprint(paths: Paths) -> str:
    """Of what the chain asks for; not of the modules that do it, which may move while results stay comparable."""
    asked = [(step.name, step.keep, step.arguments[2:]) for step in steps_for(paths)]
    text = repr([COHORT, *(part for part in asked if part[0] != "planted cohort")])
    return hashlib.sha256(text.replace(str(paths.tree), "").encode()).hexdigest()
