"""What long calls keep, so that a second one goes on: lines of JSON, folders that are whole or not there; tables."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any


class JsonLines:
    """Records in a file, a line of JSON each, put at its end; of several whose ``key`` fields agree the last counts."""

    def __init__(self, path: Path, key: Sequence[str]) -> None:
        self.path, self._key = path, key
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        self.records = {self._key_of(record): record for record in map(json.loads, lines)}

    def append(self, record: dict[str, Any]) -> None:
        """One more."""
        self.records[self._key_of(record)] = record
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def _key_of(self, record: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(record[name] for name in self._key)


def read_rows(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file, by its header."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> None:
    """A CSV file with a header; without ``columns`` that of the first row."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns or list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def made_once(place: Path, make: Callable[[Path], Any]) -> Path:
    """A file or folder that ``make`` makes where it is missing, under another name: a part is never taken for it."""
    if not place.exists():
        part = place.with_name(f".{place.name}")
        shutil.rmtree(part) if part.is_dir() else part.unlink(missing_ok=True)
        make(part)
        part.rename(place)
    return place
