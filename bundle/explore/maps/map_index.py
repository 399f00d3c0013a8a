"""``maps.csv``: which maps there are, and what went wrong."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ...core import BundleError, write_text


class MapRecord(NamedTuple):
    """What became of a slide. ``status``: done, skipped, failed; ``maps``: its files, between semicolons."""

    slide: str
    status: str
    regions: int = 0
    prototypes: int = 0
    seconds: float = 0.0
    maps: str = ""
    file: str = ""
    error: str = ""


def write_map_index(records: Sequence[MapRecord], path: Path) -> None:
    """Write the CSV, sorted by slide; a reader sees the old file or the new one, nothing between.

    Slides of earlier runs that are none of these keep their lines.

    Raises:
        BundleError: it cannot be written.
    """
    rows = {
        record.slide: [str(cell) for cell in record._replace(seconds=round(record.seconds, 2))] for record in records
    }
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(MapRecord._fields)
    writer.writerows(row for _, row in sorted({**_earlier(path), **rows}.items()))
    try:
        write_text(path, text.getvalue())
    except OSError as error:
        raise BundleError(f"the index of maps {path} cannot be written: {error.strerror}.") from error


def _earlier(path: Path) -> dict[str, list[str]]:
    """Lines by slide of an index that is there; none where it is none of ours."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header, *rows = csv.reader(file)
    except (OSError, ValueError, csv.Error):
        return {}
    return {row[0]: row for row in rows if row} if tuple(header) == MapRecord._fields else {}
