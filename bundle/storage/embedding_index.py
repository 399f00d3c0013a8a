"""The index of an inference run: ``slides.csv``, a line a slide."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..core import BundleError, write_text

_COLUMNS = ("slide", "status", "regions", "prototypes", "mpp", "file", "error")


@dataclass(frozen=True)
class IndexRow:
    """What became of one slide.

    Attributes:
        slide: its id.
        status: done, skipped (its file was there), failed, or waiting (the run was stopped before).
        regions, prototypes: how many; 0 where unknown.
        mpp: of level 0, um/px; nan where unknown.
        file: of its embeddings, relative to the index; empty where there is none.
        error: why it failed.
        values: what the slide table says of it, by column.
    """

    slide: str
    status: str
    regions: int = 0
    prototypes: int = 0
    mpp: float = math.nan
    file: str = ""
    error: str = ""
    values: Mapping[str, str] = field(default_factory=dict)


def write_index(rows: Sequence[IndexRow], path: str | Path) -> None:
    """Write the CSV, sorted by slide, with the columns of the slide table behind its own.

    Raises:
        BundleError: the folder cannot be written.
    """
    path = Path(path)
    extra = list(dict.fromkeys(name for row in rows for name in row.values if name not in _COLUMNS))
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([*_COLUMNS, *extra])
    for row in sorted(rows, key=lambda row: row.slide):
        mpp = "" if math.isnan(row.mpp) else f"{row.mpp:.6g}"
        own = [row.slide, row.status, row.regions, row.prototypes, mpp, row.file, " ".join(row.error.split())]
        writer.writerow([*own, *(row.values.get(name, "") for name in extra)])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text.getvalue())
    except OSError as error:
        raise BundleError(f"the index of slides {path} cannot be written: {error.strerror}.") from error


def read_index(path: str | Path) -> list[IndexRow]:
    """The rows of :func:`write_index`.

    Raises:
        BundleError: there is no such file, or it is none of this kind.
    """
    path = Path(path)
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return [_row(row) for row in rows]
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise BundleError(f"{path} is no index of slides ({error!r}); configs/inference.yaml writes one.") from error


def _row(row: Mapping[str, str]) -> IndexRow:
    values = {name: value for name, value in row.items() if name not in _COLUMNS}
    return IndexRow(
        row["slide"],
        row["status"],
        int(row["regions"]),
        int(row["prototypes"]),
        float(row["mpp"] or "nan"),
        row["file"],
        row["error"],
        values,
    )
