"""Splits as CLAM, HIPT and MCAT publish them: a file a split, with a column a side that lists who stands there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ..core import BundleError
from .text_tables import TextTable, read_table

SIDES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
}
_NUMBERED = re.compile(r"splits?_(\d+)\.csv$")  # splits_0_bool.csv and splits_0_descriptor.csv say the same again
_NOT_LISTED = {"slide", "patient", "split", "fold"}  # columns of the other layout, a row a slide


@dataclass(frozen=True)
class ListedSplit:
    """One published split.

    Attributes:
        name: "split 3", after the file; "test" where there is one file only.
        path: of the file.
        side_of: slide or patient -> "train", "test" or "val".
        tests_val: the file has nobody under test, so that val is what is predicted.
    """

    name: str
    path: Path
    side_of: dict[str, str]
    tests_val: bool = False


def listed_splits(path: Path) -> list[ListedSplit] | None:
    """Splits of a folder with ``splits_0.csv``, ``splits_1.csv``, ..., or of one such file.

    A file has a column ``train`` and at least one of ``test`` and ``val``; each cell below names a slide or a patient,
    columns are of unequal length. Or it has True and False there, and names in its first column, as CLAM's
    ``splits_0_bool.csv``. Where nobody stands under test, val is what is predicted.

    Returns:
        None where the file has the other layout, a row a slide.

    Raises:
        BundleError: no such file in the folder; somebody on two sides of a split.
    """
    if not path.is_dir():
        listed = _read(path, "test")
        return None if listed is None else [listed]
    numbered = {int(match[1]): file for file in sorted(path.iterdir()) if (match := _NUMBERED.match(file.name))}
    if not numbered:
        raise BundleError(f"{path} is a folder without splits_0.csv, splits_1.csv, ...; give their folder, or a CSV.")
    found = []
    for number, file in sorted(numbered.items()):
        listed = _read(file, f"split {number}" if len(numbered) > 1 else "test")
        if listed is None:
            raise BundleError(f"{file} has no columns train and test (or val); a folder of splits holds such files.")
        found.append(listed)
    return found


def _read(path: Path, name: str) -> ListedSplit | None:
    table = read_table(path, "file of splits", ("slide", "patient", "train"))
    sides = {column: SIDES[column.lower()] for column in table.columns if column.lower() in SIDES}
    if _NOT_LISTED & set(table.columns) or "train" not in sides.values() or len(set(sides.values())) < 2:
        return None
    side_of: dict[str, str] = {}
    for who, side, line in _cells(table, sides):
        if side_of.setdefault(who, side) != side:
            raise BundleError(f"{path}, line {line}: {who!r} stands under {side_of[who]} and {side}; keep one of them.")
    if "test" in side_of.values():
        return ListedSplit(name, path, side_of)
    return ListedSplit(name, path, {who: "test" if side == "val" else side for who, side in side_of.items()}, True)


def _cells(table: TextTable, sides: dict[str, str]) -> list[tuple[str, str, int]]:
    """Who stands on which side, and the line that says so."""
    words = {row[column].lower() for _, row in table.rows for column in sides} - {""}
    if words <= {"true", "false"}:
        first = table.columns[0]
        return [
            (row[first], side, line)
            for line, row in table.rows
            for column, side in sides.items()
            if row[first] and row[column].lower() == "true"
        ]
    return [(row[column], side, line) for line, row in table.rows for column, side in sides.items() if row[column]]
