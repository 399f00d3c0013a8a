"""The table that a run over slides ends with: a line a slide, as CSV and for the console."""

import csv
import io
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..core import BundleError, write_text


class SlideRecord(NamedTuple):
    """What became of one slide. ``status``: done, skipped, failed or waiting; ``mpp``: level 0, um/px; nan unknown."""

    slide: str
    status: str
    regions: int = 0
    patches: int = 0
    seconds: float = 0.0
    reader: str = ""
    mpp: float = math.nan
    error: str = ""


def write_slide_report(records: Sequence[SlideRecord], path: str | Path) -> None:
    """Write the CSV, sorted by slide; a reader sees the old file or the new one, nothing between.

    Raises:
        BundleError: the folder cannot be written.
    """
    path = Path(path)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(SlideRecord._fields)
    for record in sorted(records):
        mpp = "" if math.isnan(record.mpp) else f"{record.mpp:.6g}"
        writer.writerow(record._replace(seconds=round(record.seconds, 2), mpp=mpp))  # type: ignore[arg-type]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text.getvalue())
    except OSError as error:
        raise BundleError(f"the table of slides {path} cannot be written: {error.strerror}.") from error


def read_slide_report(path: str | Path) -> list[SlideRecord]:
    """The records of :func:`write_slide_report`."""
    with open(path, newline="", encoding="utf-8") as file:
        return [
            SlideRecord(
                row["slide"],
                row["status"],
                int(row["regions"]),
                int(row["patches"]),
                float(row["seconds"]),
                row["reader"],
                float(row["mpp"] or "nan"),
                row["error"],
            )
            for row in csv.DictReader(file)
        ]


def format_slide_report(records: Sequence[SlideRecord], max_rows: int = 30) -> str:
    """A short table: counts first, then slides, failed ones first, at most ``max_rows`` of them."""
    counts = Counter(record.status for record in records)
    order = {"failed": 0, "waiting": 1, "done": 2, "skipped": 3}
    shown = sorted(records, key=lambda record: (order.get(record.status, 9), record.slide))[:max_rows]
    rows = [("slide", "status", "regions", "patches", "seconds", "reader", "mpp")]
    for record in shown:
        mpp = "" if math.isnan(record.mpp) else f"{record.mpp:.3g}"
        numbers = (f"{record.regions:,}", f"{record.patches:,}", f"{record.seconds:.1f}")
        rows.append((record.slide, record.status, *numbers, record.reader, mpp))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    for position, record in enumerate(shown, start=1):
        if record.error:
            lines[position] += "  " + " ".join(record.error.split())
    if len(records) > len(shown):
        lines.append(f"... and {len(records) - len(shown)} more")
    summary = ", ".join(f"{counts[status]} {status}" for status in sorted(counts, key=lambda s: order.get(s, 9)))
    return "\n".join([f"{len(records)} slides: {summary}", *lines])
