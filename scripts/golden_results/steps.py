"""What is run at a commit: a small cohort through every verb of the configs, named by what outlives moves of code."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

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


def _steps(chain: Mapping[str, Any]) -> Iterator[Step]:
    """The verbs of ``chain.yaml``; before them slides and a planted cohort are drawn, then weights are packaged."""
    yield Step("draw slides", lambda paths: draw_slides(paths.tree, "drawn", 3, 4))
    yield Step("planted cohort", lambda _: ["-c", PLANTED])
    for step in chain["steps"]:
        uses_real = "REAL_SLIDE" in step["options"].values()
        yield Step(step["name"], partial(_verb, step), needs=_has_real_slide if uses_real else lambda _: True)
    yield Step("package", _package, keep="package/said.txt")


def _verb(step: Mapping[str, Any], paths: Paths) -> list[str]:
    verb, *names = step["run"].split()
    given = {"config_file": paths.configs(*names), "bundle_root": paths.tree, "device": "cpu"} | step["options"]
    options = {name: paths.real_slide if value == "REAL_SLIDE" else value for name, value in given.items()}
    return ["-m", "monai.bundle", "run", verb, *_options(options)]


def _has_real_slide(paths: Paths) -> bool:
    return paths.real_slide is not None


def _package(paths: Paths) -> list[str]:
    given = {"model": "models/model.pt", "patch_encoder": "models/patch_encoder.pt", "output_dir": "package"}
    given |= {"schema": str(paths.schema)} if paths.schema is not None else {}
    return ["-m", module_of(paths.tree / "scripts" / "package"), *_options(given)]


STEPS = list(_steps(yaml.safe_load(Path(__file__).with_name("chain.yaml").read_text(encoding="utf-8"))))


def steps_for(paths: Paths) -> list[Step]:
    """The steps that can be done here."""
    return [step for step in STEPS if step.needs(paths)]


def fingerprint(paths: Paths) -> str:
    """Of what the chain asks for; not of the modules that do it, which may move while results stay comparable."""
    asked = [(step.name, step.keep, step.arguments(paths)[2:]) for step in steps_for(paths)]
    text = repr([COHORT, *(part for part in asked if part[0] != "planted cohort")])
    return hashlib.sha256(text.replace(str(paths.tree), "").encode()).hexdigest()
