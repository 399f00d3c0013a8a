"""What is known of each slide: a CSV with a row a slide."""

import logging
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core import BundleError
from .matches import insist_on_one_each, report_matches
from .observed_times import outcome_of
from .slide_names import Found, TableNames, path_from
from .text_tables import TextTable, as_written_once, is_missing, read_table, with_slide_column

_log = logging.getLogger(__name__)
# columns of slide tables, and of the index that inference writes, which may stand in for one
_OF_FILES = {"slide", "mpp", "roi", "status", "regions", "prototypes", "file", "error"}


@dataclass(frozen=True)
class SlideRow:
    """One row. ``mpp`` in um/px; ``patient``, ``site``: None where not known; ``values``: every column, as written."""

    mpp: float | None = None
    patient: str | None = None
    site: str | None = None
    roi: Path | None = None
    values: dict[str, str] = field(default_factory=dict)


class SlideTable:
    """Rows by slide; a slide is named by its id, its file name or its path.

    Args:
        rows: row of each name.
        columns: names of the columns.
        path: file they come from, or None for an empty table.
        number: reads a number as the table writes it.
    """

    def __init__(
        self,
        rows: dict[str, SlideRow],
        columns: Sequence[str] = (),
        path: Path | None = None,
        number: Callable[[str], float] = float,
    ) -> None:
        self.rows = rows
        self.columns = list(columns)
        self.path = path
        self._names = TableNames(rows, str(path))
        self._found: dict[str, Found | None] = {}
        self._number = number

    @classmethod
    def read(cls, path: str | Path | None) -> "SlideTable":
        """Read a CSV with a column ``slide`` and any of ``mpp``, ``patient``, ``site``, ``roi``, labels; None: no rows.

        How it may be written is for :func:`~bundle.cohort.text_tables.read_table` to say.

        Raises:
            BundleError: no such file, no column ``slide`` or nothing in it, a row twice, an mpp that is none, a missing
                roi file.
        """
        if path is None:
            return cls({})
        path = Path(path)
        table = with_slide_column(read_table(path, "slide table", ("slide", "slide_id")))
        if "slide" not in table.columns:
            found = ", ".join(table.columns) or "nothing"
            raise BundleError(f"{path} has no column 'slide' (found: {found}); add it: file name or id.")
        rows: dict[str, SlideRow] = {}
        for line, values in table.rows:
            name = values["slide"]
            if not name:
                raise BundleError(f"{path}, line {line}: the column 'slide' is empty; give a file name or an id.")
            if name in rows:
                raise BundleError(f"{path}, line {line}: slide {name!r} stands there twice; keep one row a slide.")
            rows[name] = _row(values, table, path, line)
        return cls(_with_one_text(rows), table.columns, path, table.number)

    def match(self, slide_ids: Sequence[str], paths: Sequence[str | Path] = (), base: Path | None = None) -> None:
        """Find the rows of a cohort, once, and say how: what matched, rows without a slide, slides without a row.

        A row that has the id, or the whole path, of one of these slides is no row of another from then on.

        Args:
            slide_ids: of all slides.
            paths: their files, or their names, "" where one is not known: an id need not be a file's name.
            base: the folder from which paths count.

        Raises:
            BundleError: a row may be meant for several slides, or several rows for one.
        """
        files = [Path(path) if str(path) else None for path in paths] if paths else [None] * len(slide_ids)
        slides = [(slide_id, path_from(file, base)) for slide_id, file in zip(slide_ids, files, strict=True)]
        self._names.own(slides, are_whole=base is not None)
        self._found = self._names.find_all(list(zip(slide_ids, files, strict=True)))
        if self.rows:
            insist_on_one_each(self._found, dict(slides), str(self.path))
            report_matches(self._found, *self.strays(), str(self.path))

    def row(self, slide_id: str, path: str | Path | None = None) -> SlideRow:
        """The slide's row, see :class:`TableNames`; an empty row if there is none.

        Raises:
            BundleError: several rows may be meant for it.
        """
        found = self._found[slide_id] if slide_id in self._found else self._names.find(slide_id, path)
        return SlideRow() if found is None else self.rows[found.name]

    def strays(self) -> tuple[list[str], list[str]]:
        """Of the cohort of :meth:`match`: rows that are no slide's, and slides without a row."""
        taken = {found.name for found in self._found.values() if found is not None}
        without = [slide_id for slide_id, found in self._found.items() if found is None]
        return [name for name in self.rows if name not in taken], without

    def labels(self, slide_ids: Sequence[str], column: str, classes: Collection[str] = ()) -> list[str | None]:
        """A column's value for each slide, None where it is empty or says that it is not known (NA, nan, unknown).

        Values are text as it is written, but ``0`` and ``0.0`` are one.

        Args:
            slide_ids: n slides.
            column: its name.
            classes: values that are asked for: these count even where they are words such as "none".

        Raises:
            BundleError: the table has no such column, none of these slides a value in it, or two ways of writing one
                number are there that may be two values (1 and 01).
        """
        self.check_column(column, "label")
        written = [row.values.get(column, "") for row in self._rows(slide_ids)]
        words = Counter(word for word in written if word and is_missing(word) and word not in classes)
        if words:
            said = ", ".join(f"{n} x {word}" for word, n in words.most_common(5))
            _log.warning("%s: %s in column %r count as empty", self.path, said, column)
        known = [word if word in classes or not is_missing(word) else None for word in written]
        one = as_written_once((word for word in known if word is not None), classes)
        self._insist_on_two_values(set(one.values()), column)
        labels = [None if word is None else one[word] for word in known]
        if slide_ids and not any(labels):
            raise BundleError(
                f"no slide has a value in column {column!r} of {self.path}: its rows are "
                f"{', '.join(list(self.rows)[:3]) or 'none'}, the slides are {', '.join(slide_ids[:3])}. Name slides "
                "by file or id, or leave --slide_table out."
            )
        return labels

    def patients(self, slide_ids: Sequence[str]) -> list[str]:
        """The patient of each slide; the slide itself where none is given."""
        return [row.patient or slide_id for slide_id, row in zip(slide_ids, self._rows(slide_ids), strict=True)]

    def sites(self, slide_ids: Sequence[str]) -> list[str | None]:
        """The site of each slide, None where none is given."""
        return [row.site for row in self._rows(slide_ids)]

    def survival(
        self, slide_ids: Sequence[str], time: str = "time", event: str = "event", is_opposite: bool = False
    ) -> NDArray[np.float64]:
        """Time and event of each slide, [n, 2]; both NaN where either is empty (or NA).

        Args:
            slide_ids: n slides.
            time: column of the time to the event or to the end of observation, above 0, in any unit.
            event: column that says whether the event was seen (1, true, dead) or not (0, false, alive, censored).
            is_opposite: it says 1 or true where observation ended before the event, as a column ``censorship`` does.

        Raises:
            BundleError: no such column, a time that is no positive number, an event that is not one of the words; no
                slide has both, or none an event.
        """
        self.check_column(time, "time")
        self.check_column(event, "event")
        rows = [row.values for row in self._rows(slide_ids)]
        cells = [(row.get(time, ""), row.get(event, "")) for row in rows]
        try:
            found = [
                outcome_of(slide_id, *words, self._number, is_opposite)
                for slide_id, words in zip(slide_ids, cells, strict=True)
            ]
        except BundleError as error:
            raise BundleError(f"{self.path}: {error}") from None
        outcomes = np.array(found, dtype=np.float64).reshape(len(rows), 2)
        if rows and not (outcomes[:, 1] == 1).any():
            n_known = int(np.isfinite(outcomes[:, 1]).sum())
            raise BundleError(
                f"no event in {self.path}: {n_known} of {len(rows)} slides have {time!r} and {event!r}, none of them "
                f"an event. Its rows are {', '.join(list(self.rows)[:3]) or 'none'}, the slides are "
                f"{', '.join(slide_ids[:3])}."
            )
        return outcomes

    def check_column(self, column: str, option: str) -> None:
        """Insist on a column.

        Args:
            column: its name.
            option: asks for it, for the message.

        Raises:
            BundleError: there is no such column, or no table.
        """
        if self.path is None:
            raise BundleError(f"the column {column!r} is asked for, but no slide table is given: pass --slide_table.")
        if column not in self.columns:
            raise BundleError(
                f"{self.path} has no column {column!r} (found: {', '.join(self.columns)}); give --{option} one of "
                "these."
            )

    def _rows(self, slide_ids: Sequence[str]) -> list[SlideRow]:
        """Rows of a cohort, matched now if they have not been."""
        if not all(slide_id in self._found for slide_id in slide_ids):
            self.match(slide_ids)
        return [self.row(slide_id) for slide_id in slide_ids]

    def _insist_on_two_values(self, words: Collection[str], column: str) -> None:
        """Refuse one number in two ways of writing."""
        by_number = defaultdict[float, list[str]](list)
        for word in sorted(words):
            try:
                by_number[float(word)].append(word)
            except ValueError:
                continue
        for same in by_number.values():
            if len(same) > 1 and same[0] != same[1]:
                raise BundleError(
                    f"{self.path}: the column {column!r} holds {' and '.join(map(repr, same[:3]))}, one number in two "
                    "ways of writing: write it in one, or make other words of them."
                )


def _with_one_text(rows: dict[str, SlideRow]) -> dict[str, SlideRow]:
    """Rows in which one patient, or site, is written in one way: 12 and 12.0 are one."""
    patients, sites = (
        as_written_once(text for row in rows.values() if (text := getattr(row, name)) is not None)
        for name in ("patient", "site")
    )
    return {
        name: replace(row, patient=patients.get(row.patient or ""), site=sites.get(row.site or ""))
        for name, row in rows.items()
    }


def _row(values: dict[str, str], table: TextTable, path: Path, line: int) -> SlideRow:
    mpp = None
    if values.get("mpp"):
        try:
            mpp = table.number(values["mpp"])
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
        if not _is_file(roi):
            raise BundleError(f"{path}, line {line}: the region of interest {roi} is no file; give a GeoJSON.")
    patient, site = (None if is_missing(text) else text for text in (values.get("patient", ""), values.get("site", "")))
    return SlideRow(mpp, patient, site, roi, values)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long, or none
        return False


def shown_values(values: Mapping[str, str]) -> dict[str, str]:
    """What a slide's row of the slide table says of the slide itself, not of its files; empty cells are left out."""
    return {name: value for name, value in values.items() if value and name not in _OF_FILES}
