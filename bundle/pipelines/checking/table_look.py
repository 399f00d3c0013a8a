"""A look at a cohort's slide table and file of splits: all that is wrong, where other commands stop at the first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...cohort import SlideRef, SlideTable, TextTable, is_missing, read_table, split_faults, with_slide_column
from ...core import BundleError

_NO_LABELS = {"slide", "mpp", "roi", "patient", "site", "time", "event", "split", "fold"}
_MOST_CLASSES = 12  # a column with more values, or as many as slides, is no label
_MOST_LISTED = 5


@dataclass(frozen=True)
class Column:
    """A column: its name, cells that say nothing, different values, and the commonest with their numbers."""

    name: str
    n_missing: int
    n_values: int
    common: list[tuple[str, int]]


@dataclass
class TableLook:
    """What is known of the tables.

    Attributes:
        path: of the slide table; empty where none is given.
        n_rows: of it.
        columns: of it.
        faults: what other commands stop at, or what makes results wrong, in sentences.
        remarks: what is odd, in sentences.
        without_row: ids of slides that have none.
        with_row: ids of the others.
    """

    path: str = ""
    n_rows: int = 0
    columns: list[Column] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    without_row: list[str] = field(default_factory=list)
    with_row: set[str] = field(default_factory=set)


def look_at_tables(
    table_path: str | Path | None,
    splits_path: str | Path | None,
    refs: Sequence[SlideRef],
    base: Path,
    labels: Sequence[str] = (),
) -> tuple[SlideTable, TableLook]:
    """Read the tables; what is wrong with them is written down, and no exception.

    Args:
        table_path: slide table; None: there is none.
        splits_path: file of splits; None: there is none.
        refs: slides of the cohort.
        base: the folder from which their paths count.
        labels: columns that will be learned.

    Returns:
        The table, matched to the slides, without rows where it cannot be used; and what was found.
    """
    look = TableLook()
    table = SlideTable({})
    if table_path is not None:
        look.path = str(table_path)
        table = _read(Path(table_path), refs, base, look, labels)
    if splits_path is not None:
        patients = _slides_of_patients(refs, table)
        look.faults += split_faults(splits_path, list(patients), list(patients.values()))
    return table, look


def _read(path: Path, refs: Sequence[SlideRef], base: Path, look: TableLook, labels: Sequence[str]) -> SlideTable:
    try:
        text = with_slide_column(read_table(path, "slide table", ("slide", "slide_id")))
        look.n_rows, look.columns = len(text.rows), [_column(text, name) for name in text.columns]
        look.faults += _rows_twice(text, path)
        table = SlideTable.read(path)
        table.match([ref.slide_id for ref in refs], [ref.path for ref in refs], base)
    except BundleError as error:
        if not look.faults:
            look.faults.append(str(error))
        look.remarks.append("slides were looked at without the slide table, as it cannot be used")
        return SlideTable({})
    strays, look.without_row = table.strays()
    look.with_row = {ref.slide_id for ref in refs} - set(look.without_row)
    if strays:
        look.remarks.append(f"{len(strays)} rows match no slide: {_listed(strays)}")
    if look.without_row:
        look.remarks.append(f"{len(look.without_row)} slides have no row: {_listed(look.without_row)}")
    look.faults += [f"{path} has no column {name!r} (label)" for name in labels if name not in table.columns]
    look.remarks += _label_remarks(table, look, labels)
    return table


def _column(text: TextTable, name: str) -> Column:
    counts = Counter(row[name] for _, row in text.rows if not is_missing(row[name]))
    return Column(name, len(text.rows) - counts.total(), len(counts), counts.most_common(_MOST_LISTED))


def _rows_twice(text: TextTable, path: Path) -> list[str]:
    lines: dict[str, list[int]] = {}
    for line, row in text.rows:
        if row.get("slide"):
            lines.setdefault(row["slide"], []).append(line)
    return [
        f"{path}: slide {name!r} stands in lines {', '.join(map(str, found))}; keep one row a slide"
        for name, found in lines.items()
        if len(found) > 1
    ]


def _label_remarks(table: SlideTable, look: TableLook, labels: Sequence[str]) -> list[str]:
    """Classes with one slide, and of columns that will be learned: slides without a value, patients with two."""
    rows = {slide_id: table.row(slide_id) for slide_id in sorted(look.with_row)}
    found = []
    others = [column.name for column in look.columns if column.name not in _NO_LABELS]
    for name in [name for name in labels if name in table.columns] if labels else others:
        values = {slide_id: row.values.get(name, "") for slide_id, row in rows.items()}
        known = {slide_id: value for slide_id, value in values.items() if not is_missing(value)}
        counts = Counter(known.values())
        if name in labels or len(counts) <= min(_MOST_CLASSES, len(known) // 2):
            if single := [value for value, n in counts.items() if n == 1]:
                found.append(f"column {name}: {_listed(single)} has one slide" + (" each" if len(single) > 1 else ""))
        if name in labels:
            found += _unlearnable(name, known, values, {s: row.patient or s for s, row in rows.items()})
    return found


def _unlearnable(
    name: str, known: Mapping[str, str], values: Mapping[str, str], patient_of: Mapping[str, str]
) -> list[str]:
    said: dict[str, set[str]] = {}
    for slide_id, value in known.items():
        said.setdefault(patient_of[slide_id], set()).add(value)
    without = [slide_id for slide_id in values if slide_id not in known]
    several = [patient for patient, own in said.items() if len(own) > 1]
    found = [f"column {name}: {len(without)} slides have no value: {_listed(without)}"] if without else []
    return found + ([f"column {name}: slides of patients {_listed(several)} differ"] if several else [])


def _slides_of_patients(refs: Sequence[SlideRef], table: SlideTable) -> dict[str, list[str]]:
    slides: dict[str, list[str]] = {}
    for ref in refs:
        slides.setdefault(table.row(ref.slide_id, ref.path).patient or ref.slide_id, []).append(ref.slide_id)
    return slides


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST_LISTED]) + (", ..." if len(names) > _MOST_LISTED else "")
