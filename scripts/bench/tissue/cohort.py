"""The slides that a table knows, in a folder of their own, with a table for the bundle's commands."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from bundle.cohort import find_slides
from bundle.core import BundleError

from ...pins.records import read_rows, write_rows


class Cohort(NamedTuple):
    """What the steps work on.

    Attributes:
        slides: folder of links to the slides that the table has.
        table: CSV with a column ``slide``.
        classes: values of the label that enough patients have.
        n_slides: S.
    """

    slides: Path
    table: Path
    classes: list[str]
    n_slides: int


def make_cohort(slides: Path, table: Path, column: str, label: str, n_folds: int, output: Path) -> Cohort:
    """Link the slides and write the table.

    Args:
        slides: folder of slides, searched in depth, one file a slide.
        table: CSV with a row a slide, and any of ``mpp``, ``patient``; it may have rows of slides that are not there.
        column: its column with file names or ids.
        label: its column with the class.
        n_folds: patients that a class needs.
        output: the folder of links and the table go here.

    Raises:
        BundleError: no such column, no slide that both have, or fewer than two classes with enough patients.
    """
    rows = read_rows(table)
    for name in (column, label):
        if not rows or name not in rows[0]:
            raise BundleError(f"{table} has no column {name!r}: choose with --slide_column and --label.")
    by_name = {row[column]: row for row in rows} | {Path(row[column]).stem: row for row in rows}
    found = {
        ref.path.name: (ref.path, by_name.get(ref.path.name) or by_name.get(ref.slide_id))
        for ref in find_slides(slides)
    }
    known = {name: (path, row) for name, (path, row) in found.items() if row is not None}
    if not known:
        raise BundleError(f"no slide in {slides} has a row in {table}: {column!r} must hold file names or ids.")
    folder = output / "slides"
    folder.mkdir(parents=True, exist_ok=True)
    for name, (path, _) in known.items():
        if not (folder / name).exists():
            (folder / name).symlink_to(path.resolve())
    kept = [{**row, "slide": name} for name, (_, row) in sorted(known.items())]
    written = output / "slides.csv"
    write_rows(written, kept, ["slide", *(name for name in kept[0] if name != "slide")])
    return Cohort(folder, written, _classes(kept, label, n_folds), len(kept))


def _classes(rows: list[dict[str, str]], label: str, n_folds: int) -> list[str]:
    patients: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        patients[row[label]].add(row.get("patient") or row["slide"])
    classes = sorted(name for name, own in patients.items() if name and len(own) >= n_folds)
    if len(classes) < 2:
        raise BundleError(f"fewer than two classes of {label!r} have {n_folds} patients: choose another --label.")
    return classes
