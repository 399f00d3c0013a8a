"""Ids of a config, read from the file itself: value, comment and group; nothing is evaluated, MONAI is not imported."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

_ID = re.compile(r"(\w+):\s?(.*)$")
_PLACE = re.compile(r"\$@bundle_root \+ '/([^']*)'(?: \+ '([^']*)')?$")
_LEFT_OPEN = re.compile(r"null: (?:of slides )?bundle_root/(\w+)")
_BELOW = re.compile(r"\$@(\w+) \+ '/([^']*)'$")
_EITHER = re.compile(r"\$(\S+) if torch\.device\(@device\)\.type == 'cuda' else (\S+)$")
_SHOWN = {
    "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')": "cuda, else cpu",
    "$torch.device(@device).type == 'cuda'": "on cuda",
}


@dataclass(frozen=True)
class ConfigId:
    """An id that can be given on the command line.

    Attributes:
        name: as the config has it.
        default: its value there.
        comment: what stands beside it.
        group: heading of its block.
    """

    name: str
    default: Any
    comment: str
    group: str

    @property
    def place(self) -> str:
        """The default as a path below the folder of work; empty where it is none."""
        match = _PLACE.match(self.default) if isinstance(self.default, str) else None
        if self.default is None:  # and the comment says where, then
            match = _LEFT_OPEN.search(self.comment)
        return "".join(filter(None, match.groups())) if match else ""

    @property
    def shown(self) -> str:
        """The default in words."""
        value = self.default
        if isinstance(value, bool) or value is None:
            return self.place or {True: "true", False: "false", None: "null"}[value]
        if isinstance(value, list):
            return "[" + ", ".join(map(str, value)) + "]"
        if isinstance(value, dict):
            return ", ".join(f"{name}: {ConfigId(name, part, '', '').shown}" for name, part in value.items())
        text = str(value)
        if self.place:
            return self.place
        if below := _BELOW.match(text):
            return f"{below[1].upper()}/{below[2]}"
        if either := _EITHER.match(text):
            return f"{either[1]} on cuda, else {either[2]}"
        return _SHOWN.get(text, text)


@cache
def ids_of(path: Path) -> dict[str, ConfigId]:
    """The ids that stand above a config's first component, in their order."""
    text, values = _read(path)
    found: dict[str, ConfigId] = {}
    group = ""
    for line in _top(text):
        match = _ID.match(line)
        if line.startswith("# ") and not match:
            group = line[2:].strip()
        elif match and match[1] not in ("imports", "from_ids", "bundle_root"):
            found[match[1]] = ConfigId(match[1], values[match[1]], _comment(match[2]), group)
        elif line.startswith((" ", "- ")) and found and (more := _comment(line)):
            name, last = found.popitem()
            found[name] = ConfigId(name, last.default, f"{last.comment} {more}".strip(), last.group)
    return found


def top_ids(path: Path) -> frozenset[str]:
    """Everything that stands at the top of a config."""
    return frozenset(_read(path)[1])


@cache
def _read(path: Path) -> tuple[str, dict[str, Any]]:
    """A config's text, and what it holds, once: it is most of what an error takes."""
    text = path.read_text(encoding="utf-8")
    return text, yaml.safe_load(text)


def purpose(path: Path) -> str:
    """The first sentences of a config's head: what it does, what it needs."""
    lines = []
    for line in _read(path)[0].splitlines():
        if not line.startswith("# ") or line.startswith("#   "):
            break
        lines.append(line[2:])
    return " ".join(lines)


def _top(text: str) -> list[str]:
    """Lines between the imports and the first component."""
    lines = text.splitlines()
    first = next((n for n, line in enumerate(lines) if line.startswith("bundle_root:")), 0)
    last = next((n for n, line in enumerate(lines) if line.startswith("begin:")), len(lines))
    return lines[first - 1 : last]


def _comment(rest: str) -> str:
    """What stands behind the value: a # with a space before it, outside of quotes."""
    return rest.split(" # ", 1)[1].strip() if " # " in rest else (rest[2:].strip() if rest.startswith("# ") else "")
