"""What two runs of one commit may differ in, each with its reason. Everything else must be the same, bit for bit."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True)
class Rule:
    """Files, or items of files, that are not compared.

    Attributes:
        name: what they are.
        reason: why they may differ.
        files: patterns of paths below the folder of results, ``*`` crosses folders.
        items: patterns of names of items; None: the files are not opened, and may be missing.
    """

    name: str
    reason: str
    files: tuple[str, ...]
    items: tuple[str, ...] | None = None


RULES = (
    Rule("logs", "what a process says is full of times, paths and speeds", ("logs/*", "run.json")),
    Rule(
        "copied slides",
        "made once by one commit and given to both; slides that each commit draws lie in drawn/",
        ("slides/*", "few_slides/*"),
    ),
    Rule("durations", "seconds depend on the machine's load", ("*.csv",), ("seconds", "*_seconds")),
    Rule("durations", "the same in TensorBoard", ("*/events.out.tfevents*",), ("*seconds at *",)),
    Rule("durations", "the same in what a search says", ("search/*/results.json",), ("*/seconds",)),
    Rule("locks", "hold the process's number", ("*.lock",)),
    Rule("version", "the bundle's own number may rise", ("*.h5", "*.npz"), ("*@bundle_version", "*bundle_version")),
    Rule(
        "package: files of the repository",
        "code, configs, pages and start scripts are what moves; git compares them",
        tuple(
            f"package/{where}/{name}"
            for where in ("pathology_slpd_v*", "huggingface")
            for name in (
                "bundle/*", "configs/*", "docs/*", "scripts/*", "pyproject.toml", "constraints.txt", "CHANGELOG.md",
                "CITATION.cff", "LICENSE", "models/README.md",
            )
        ),
    ),  # fmt: skip
    Rule(
        "package: files of the repository",
        "the same inside the zip",
        ("package/*.zip",),
        tuple(
            f"*/{name}*"
            for name in ("bundle/", "configs/", "docs/", "scripts/", "pyproject.", "constraints.", "CHANGELOG.",
                         "CITATION.", "LICENSE", "models/README.")
        ),
    ),  # fmt: skip
    Rule("package: sum over the zip", "covers the files of the repository", ("package/model_info.json",)),
)  # fmt: skip

_EVENTS = re.compile(r"(events\.out\.tfevents)\.\d+\.[^/]*\.(\d+)$")
_SIZE = re.compile(r"(?m)(?<=  )\d+\.\d MB(?=, for )")


def stable_name(path: str) -> str:
    """TensorBoard puts time, host and process into the names of its files; a file's number among its folder's stays."""
    return _EVENTS.sub(r"\1", path)


def stable_text(text: str, places: Iterable[tuple[str, str]]) -> str:
    """Text without places of this machine (each replaced by its title) and without sizes of packages."""
    for place, title in places:
        text = text.replace(place, title)
    return _SIZE.sub("(size)", text)


def skips_file(path: str) -> Rule | None:
    """The rule by which a file is not compared."""
    return next((rule for rule in RULES if rule.items is None and _fits(path, rule.files)), None)


def skips_item(path: str, item: str) -> Rule | None:
    """The rule by which an item of a file is not compared."""
    return next((r for r in RULES if r.items is not None and _fits(path, r.files) and _fits(item, r.items)), None)


def _fits(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
