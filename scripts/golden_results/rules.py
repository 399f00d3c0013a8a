"""What two runs of one commit may differ in, each with its reason. Everything else must be the same, bit for bit."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import yaml


@dataclass(eq=False)
class Rule:
    """Files, or items of files, that are not compared: an entry of ``rules.yaml``, which says what the fields are."""

    name: str
    reason: str
    files: list[str]
    items: list[str] | None = None


RULES = [Rule(**rule) for rule in yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))]
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


def exempting(path: str, item: str | None = None) -> Rule | None:
    """The rule by which an item of a file, or without one the file, is not compared."""
    names = [path] if item is None else [path, item]
    for rule in RULES:
        patterns = [part for part in (rule.files, rule.items) if part is not None]
        if len(patterns) == len(names) and all(map(fits, names, patterns)):
            return rule
    return None


def fits(name: str, patterns: Iterable[str]) -> bool:
    """Whether a name is one of the patterns'."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)
