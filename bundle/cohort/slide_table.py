"""What is known of each slide: a CSV with a row a slide."""

import csv
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core import BundleError

_log = logging.getLogger(__name__)
_UNKNOWN = {"", "na", "n/a", "nan", "none"}
# with the words of cBioPortal's tables, which many cohorts come in
_EVENT = {
    **dict.fromkeys(("1", "1.0", "true", "yes", "event", "dead", "deceased", "died", "1:deceased"), 1.0),
    **dict.fromkeys(("0", "0.0", "false", "no", "censored", "alive", "living", "0:living"), 0.0),
}
# columns of slide tables, and of the index that inference writes, which may stand in for one
_OF_FILES = {"slide", "mpp", "roi", "status", "regions", "prototypes", "file", "error"}


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
        self._check_column(column, "label")
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

    def sites(self, slide_ids: Sequence[str]) -> list[str | None]:
        """The site of each slide, None where none is given."""
        return [self.row(slide_id).site for slide_id in slide_ids]

    def survival(self, slide_ids: Sequence[str], time: str = "time", event: str = "event") -> NDArray[np.float64]:
        """Time and event of each slide, [n, 2]; both NaN where either is empty (or NA).

        Args:
            slide_ids: n slides.
            time: column of the time to the event or to the end of observation, above 0, in any unit.
            event: column that says whether the event was seen (1, true, dead) or not (0, false, alive, censored).

        Raises:
            BundleError: no such column, a time that is no positive number, an event that is none of the words; no slide
                has both, or none an event.
        """
        self._check_column(time, "time")
        self._check_column(event, "event")
        rows = [self.row(slide_id).values for slide_id in slide_ids]
        found = [self._outcome(s, r.get(time, ""), r.get(event, "")) for s, r in zip(slide_ids, rows, strict=True)]
        outcomes = np.array(found, dtype=np.float64).reshape(len(rows), 2)
        if rows and not (outcomes[:, 1] == 1).any():
            n_known = int(np.isfinite(outcomes[:, 1]).sum())
            raise BundleError(
                f"no event in {self.path}: {n_known} of {len(rows)} slides have {time!r} and {event!r}, none of them "
                f"an event. Its rows are {', '.join(list(self.rows)[:3]) or 'none'}, the slides are "
                f"{', '.join(slide_ids[:3])}."
            )
        return outcomes

    def _outcome(self, slide_id: str, time: str, event: str) -> tuple[float, float]:
        is_known = [word.lower() not in _UNKNOWN for word in (time, event)]
        try:
            months = float(time) if is_known[0] else math.nan
        except ValueError:
            months = math.inf
        if is_known[0] and not 0 < months < math.inf:
            raise BundleError(
                f"{self.path}: slide {slide_id} has the time {time!r}; give a number above 0, or nothing."
            )
        if is_known[1] and event.lower() not in _EVENT:
            raise BundleError(
                f"{self.path}: slide {slide_id} has the event {event!r}; give 1, true, yes or dead for an event, 0, "
                "false, no, alive or censored for none, or nothing."
            )
        return (months, _EVENT[event.lower()]) if all(is_known) else (math.nan, math.nan)

    def _check_column(self, column: str, option: str) -> None:
        if self.path is None:
            raise BundleError(f"the column {column!r} is asked for, but no slide table is given: pass --slide_table.")
        if column not in self.columns:
            raise BundleError(
                f"{self.path} has no column {column!r} (found: {', '.join(self.columns)}); give --{option} one of "
                "these."
            )

    def warn_of_strangers(self, slide_ids: Iterable[str], paths: Iterable[str | Path] = ()) -> None:
        """Warn of rows that :meth:`row` finds for none of these slides.

        Args:
            slide_ids: of all slides.
            paths: their files, or their names, where they are known: an id need not be a file's name.
        """
        ids, files = set(slide_ids), [Path(path) for path in paths]
        names = ids | {path.name for path in files} | {path.stem for path in files}
        strangers = [name for name in self.rows if name not in names and Path(name).stem not in ids]
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


def shown_values(values: Mapping[str, str]) -> dict[str, str]:
    """What a slide's row of the slide table says of the slide itself, not of its files; empty cells are left out."""
    return {name: value for name, value in values.items() if value and name not in _OF_FILES}
