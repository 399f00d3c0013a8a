"""What is known of each slide: a CSV with a row a slide."""

import csv
import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .errors import BundleError

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SlideRow:
    """One row. ``mpp`` in um/px; ``values`` has every column as text."""

    mpp: float | None = None
    patient: str | None = None
    site: str | None = None
    roi: Path | None = None
    values: dict[str, str] = field(default_factory=dict)


class SlideTable:
    """Rows by slide; a slide is named by its id or its file name.

    Args:
        rows: row of each name.
        columns: names of the columns.
        path: file they come from, or None for an empty table.
    """

    def __init__(self, rows: dict[str, SlideRow], columns: Sequence[str] = (), path: Path | None = None) -> None:
        self.rows = rows
        self.columns = list(columns)
        self.path = path
        self._by_stem = {Path(name).stem: row for name, row in rows.items() if Path(name).suffix}

    @classmethod
    def read(cls, path: str | Path | None) -> "SlideTable":
        """Read a CSV with a column ``slide`` and any of ``mpp``, ``patient``, ``site``, ``roi``, labels; None: no rows.

        Raises:
            BundleError: no such file, no column ``slide`` or nothing in it, a row twice, an mpp that is none, a missing
                roi file.
        """
        if path is None:
            return cls({})
        path = Path(path)
        try:
            with path.open(newline="", encoding="utf-8-sig") as file:
                reader = csv.DictReader(file)
                records = list(reader)
                columns = [name.strip() for name in reader.fieldnames or []]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise BundleError(f"the slide table {path} cannot be read ({error}): give a CSV file.") from error
        if "slide" not in columns:
            found = ", ".join(columns) or "nothing"
            raise BundleError(f"{path} has no column 'slide' (found: {found}); add it: file name or id.")
        rows: dict[str, SlideRow] = {}
        for line, record in enumerate(records, start=2):
            values = {k.strip(): (v or "").strip() for k, v in record.items() if k is not None}
            name = values["slide"]
            if not any(values.values()):
                continue
            if not name:
                raise BundleError(f"{path}, line {line}: the column 'slide' is empty; give a file name or an id.")
            if name in rows:
                raise BundleError(f"{path}, line {line}: slide {name!r} stands there twice; keep one row a slide.")
            rows[name] = _row(values, path, line)
        return cls(rows, columns, path)

    def row(self, slide_id: str, path: str | Path | None = None) -> SlideRow:
        """The slide's row, found by its id, its file name, or its id with a suffix; an empty row if there is none."""
        names = [slide_id] + ([] if path is None else [Path(path).name, Path(path).stem])
        for name in names:
            if name in self.rows:
                return self.rows[name]
        return self._by_stem.get(slide_id, SlideRow())

    def labels(self, slide_ids: Sequence[str], column: str) -> list[str | None]:
        """A column's value for each slide, None where it is empty.

        Raises:
            BundleError: the table has no such column, or none of these slides a value in it.
        """
        if self.path is None:
            raise BundleError(f"the column {column!r} is asked for, but no slide table is given: pass --slide_table.")
        if column not in self.columns:
            raise BundleError(
                f"{self.path} has no column {column!r} (found: {', '.join(self.columns)}); give --label one of these."
            )
        labels = [self.row(slide_id).values.get(column) or None for slide_id in slide_ids]
        if slide_ids and not any(labels):
            raise BundleError(
                f"no slide has a value in column {column!r} of {self.path}: its rows are "
                f"{', '.join(list(self.rows)[:3]) or 'none'}, the slides are {', '.join(slide_ids[:3])}. Name slides "
                "by file or id, or leave --slide_table out."
            )
        return labels

    def patients(self, slide_ids: Sequence[str]) -> list[str]:
        """The patient of each slide; the slide itself where none is given."""
        return [self.row(slide_id).patient or slide_id for slide_id in slide_ids]

    def warn_of_strangers(self, slide_ids: Iterable[str]) -> None:
        """Warn of rows that match none of these slides."""
        ids = set(slide_ids)
        strangers = [name for name in self.rows if name not in ids and Path(name).stem not in ids]
        if strangers:
            _log.warning("%s: %d rows match no slide, such as %s", self.path, len(strangers), ", ".join(strangers[:3]))


def _row(values: dict[str, str], path: Path, line: int) -> SlideRow:
    mpp = None
    if values.get("mpp"):
        try:
            mpp = float(values["mpp"])
        except ValueError:
            mpp = math.nan
        if not 0.01 < mpp < 20:
            raise BundleError(
                f"{path}, line {line}: mpp {values['mpp']!r} is no resolution in um/px (0.01 to 20); correct it."
            )
    roi = None
    if values.get("roi"):
        roi = Path(values["roi"])
        roi = roi if roi.is_absolute() else path.parent / roi
        if not roi.is_file():
            raise BundleError(f"{path}, line {line}: the region of interest {roi} is no file; give a GeoJSON.")
    return SlideRow(mpp, values.get("patient") or None, values.get("site") or None, roi, values)
