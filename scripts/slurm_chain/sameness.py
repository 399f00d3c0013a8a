"""Whether two folders of work hold the same results."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..golden_results.reading import items_of
from ..pins.records import read_rows

_BY_BYTES = ("tokens/*.h5", "eval/inference/embeddings/*.h5")
_TABLES = ("eval/slpd/history.csv", "eval/slide_level/results.csv", "eval/slide_level/predictions.csv",
           "eval/inference/slides.csv")  # fmt: skip
_WEIGHTS = ("models/model.pt", "models/model_head.pt")
_TAKES_TIME = "seconds"  # end of the names of columns that measure the machine


def differences(first: Path, second: Path) -> dict[str, str]:
    """What differs, by kind of result; empty where nothing does."""
    found = {pattern: _bytes(first, second, pattern) for pattern in _BY_BYTES}
    found |= {name: _weights(first / name, second / name) for name in _WEIGHTS}
    found |= {name: _tables(first / name, second / name) for name in _TABLES}
    found["eval/tokenize"] = _who_made_what(first, second)
    return found


def _bytes(first: Path, second: Path, pattern: str) -> str:
    names = [sorted(path.relative_to(folder) for path in folder.glob(pattern)) for folder in (first, second)]
    if names[0] != names[1] or not names[0]:
        return f"{len(names[0])} and {len(names[1])} files"
    others = [str(name) for name in names[0] if (first / name).read_bytes() != (second / name).read_bytes()]
    return ", ".join(others)


def _weights(first: Path, second: Path) -> str:
    one, other = (dict(items_of(path.name, path.read_bytes())) for path in (first, second))
    if one.keys() != other.keys() or not one:
        return "other names"
    return ", ".join(name for name in one if not np.array_equal(one[name], other[name]))


def _rows(path: Path) -> list[dict[str, str]]:
    rows = read_rows(path)
    return [{name: word for name, word in row.items() if not name.endswith(_TAKES_TIME)} for row in rows]


def _tables(first: Path, second: Path) -> str:
    one, other = (sorted(_rows(path), key=str) for path in (first, second))
    if len(one) != len(other) or not one:
        return f"{len(one)} and {len(other)} rows"
    rows = [number for number, pair in enumerate(zip(one, other, strict=True)) if pair[0] != pair[1]]
    return f"{len(rows)} of {len(one)} rows" * bool(rows)


def _who_made_what(first: Path, second: Path) -> str:
    """Each slide was made by one task, and those are all."""
    made = [row["slide"] for path in (first / "eval" / "tokenize").glob("task_*/slides.csv") for row in _rows(path)
            if row["status"] == "done"]  # fmt: skip
    wanted = [row["slide"] for row in _rows(second / "eval" / "tokenize" / "slides.csv")]
    return "" if sorted(made) == sorted(wanted) else f"tasks have made {sorted(made)}"
