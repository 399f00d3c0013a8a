"""Two folders of results, item by item."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .reading import Item, items_of
from .rules import Rule, exempting, stable_name, stable_text

_NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|nan|inf)(?![\w.])")
_SHOWN = 60  # characters of a text around the first difference


@dataclass(frozen=True)
class Difference:
    """Something that is not the same. ``largest``: absolute difference of numbers; None: not a matter of numbers."""

    path: str
    item: str
    what: str
    largest: float | None = None


@dataclass
class Comparison:
    """What was compared, what differs, and how often each rule left something out.

    Attributes:
        n_files: that both sides have and no rule exempts.
        n_equal_files: of them, those that are the same in bytes and were not opened.
        n_items: of the opened ones.
        differences: what is not the same.
        left_out: items or files by the rule that exempts them.
    """

    n_files: int = 0
    n_equal_files: int = 0
    n_items: int = 0
    differences: list[Difference] = field(default_factory=list)
    left_out: Counter[Rule] = field(default_factory=Counter)


def compare_folders(first: Path, second: Path) -> Comparison:
    """Compare all files of two folders of results.

    Raises:
        ValueError: a file is not of the kind that its name says.
    """
    found = Comparison()
    places = _places(first), _places(second)
    files = _files(first), _files(second)
    for path in sorted(files[0].keys() | files[1].keys()):
        if rule := exempting(path):
            found.left_out[rule] += 1
        elif path not in files[0] or path not in files[1]:
            found.differences.append(Difference(path, "", f"only in {'first' if path in files[0] else 'second'}"))
        else:
            found.n_files += 1
            contents = [side[path].read_bytes() for side in files]
            if contents[0] == contents[1]:
                found.n_equal_files += 1
            else:
                _compare_file(path, contents, places, found)
    return found


def _files(folder: Path) -> dict[str, Path]:
    """Files by their stable names; of several with one name in a folder each has its number."""
    found: dict[str, Path] = {}
    for path in sorted((p for p in folder.rglob("*") if p.is_file()), key=lambda p: (p.stat().st_mtime_ns, p)):
        name = stable_name(path.relative_to(folder).as_posix())
        n_same = sum(other == name or other.startswith(f"{name}#") for other in found)
        found[name if not n_same else f"{name}#{n_same + 1}"] = path
    return found


def _places(folder: Path) -> list[tuple[str, str]]:
    record = folder / "run.json"
    tree = [(json.loads(record.read_text(encoding="utf-8"))["tree"], "<tree>")] if record.is_file() else []
    return [*tree, (str(folder.resolve()), "<results>")]


def _compare_file(
    path: str, contents: list[bytes], places: tuple[list[tuple[str, str]], list[tuple[str, str]]], found: Comparison
) -> None:
    first, second = (
        {name: stable_text(item, known) if isinstance(item, str) else item for name, item in items_of(path, content)}
        for content, known in zip(contents, places, strict=True)
    )
    for name in dict.fromkeys([*first, *second]):
        if rule := exempting(path, name):
            found.left_out[rule] += 1
            continue
        found.n_items += 1
        if difference := _difference(first.get(name), second.get(name)):
            found.differences.append(Difference(path, name, *difference))


def _difference(first: Item | None, second: Item | None) -> tuple[str, float | None] | None:
    """What differs and by how much; None where both are the same to the bit."""
    if first is None or second is None:
        return f"only in {'second' if first is None else 'first'}", None
    if _kind(first) != _kind(second):
        return f"{_kind(first)} became {_kind(second)}", None
    if isinstance(first, str) or isinstance(second, str):
        return _text_difference(str(first), str(second)) if first != second else None
    return _array_difference(first, second) if first.tobytes() != second.tobytes() else None


def _kind(item: Item) -> str:
    return "text" if isinstance(item, str) else f"{item.dtype}{list(item.shape)}"


def _array_difference(first: np.ndarray, second: np.ndarray) -> tuple[str, float | None]:
    if first.dtype.kind not in "biuf":
        return "other values", None
    a, b = first.astype(np.float64), second.astype(np.float64)
    is_other = (a != b) & ~(np.isnan(a) & np.isnan(b))
    largest = float(np.abs(a - b)[is_other].max(initial=0.0))
    return f"{is_other.sum()} of {a.size} values", largest


def _text_difference(first: str, second: str) -> tuple[str, float | None]:
    at = next((i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second)))
    start = max(0, at - _SHOWN // 2)
    shown = " | ".join(repr(text[start : start + _SHOWN]) for text in (first, second))
    if _NUMBER.sub("#", first) != _NUMBER.sub("#", second):
        return f"other text: {shown}", None
    a, b = (np.array([float(number) for number in _NUMBER.findall(text)]) for text in (first, second))
    return f"other numbers: {shown}", float(np.nanmax(np.abs(a - b), initial=0.0))
