"""The table of an import: a line a slide, what came of it and how its patches were laid."""

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ...core import BundleError
from ...pages import csv_text, write_results

_ORDER = ("failed", "done", "skipped")


class ImportRecord(NamedTuple):
    """One slide. ``status``: done, skipped (its file was there) or failed; lengths in level-0 px, scales in um/px."""

    slide: str
    status: str
    layout: str = ""
    encoder: str = ""
    dim: int = 0
    patches: int = 0
    regions: int = 0
    left_out: int = 0
    not_finite: int = 0
    moved_share: float = 0.0
    moved_px: float = 0.0
    pitch_level0: float = 0.0
    overlap: float = 0.0
    level0_mpp: float = 0.0
    mpp: float = 0.0
    seconds: float = 0.0
    error: str = ""


def write_records(records: Sequence[ImportRecord], path: Path) -> None:
    """Write the CSV, sorted by slide.

    Raises:
        BundleError: the folder cannot be written.
    """
    write_results(path.parent, {path.name: csv_text(ImportRecord._fields, sorted(records))})


def read_records(path: Path) -> list[ImportRecord]:
    """The records of :func:`write_records`.

    Raises:
        BundleError: the file is not such a table.
    """
    kinds = ImportRecord.__annotations__
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return [ImportRecord(**{name: kinds[name](value) for name, value in row.items()}) for row in rows]
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise BundleError(f"{path} is no table of imported slides ({error!r}): remove it and import again.") from error


def summary(records: Sequence[ImportRecord], max_rows: int = 20) -> str:
    """Counts, then failed slides with their reasons, then the first of the others."""
    counts = Counter(record.status for record in records)
    lines = [
        f"{len(records)} slides: " + ", ".join(f"{counts[status]} {status}" for status in _ORDER if counts[status])
    ]
    shown = sorted(records, key=lambda record: (_ORDER.index(record.status), record.slide))[:max_rows]
    lines += [_line(record) for record in shown]
    if len(records) > len(shown):
        lines.append(f"... and {len(records) - len(shown)} more")
    return "\n".join(lines)


def _line(record: ImportRecord) -> str:
    if record.status == "failed":
        return f"failed   {record.error}"
    text = f"{record.status:8} {record.slide}: {record.patches:,} patches, {record.regions:,} regions"
    if record.moved_share:
        text += f", {record.moved_share:.1%} moved by up to {record.moved_px:.0f} px"
    if record.left_out:
        text += f", {record.left_out:,} left out"
    if record.not_finite:
        text += f", {record.not_finite:,} not finite"
    return text + (f", overlap {record.overlap:.0%}" if record.overlap else "")
