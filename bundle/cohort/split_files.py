"""Splits that users bring along: a CSV that says where each slide or patient stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..core import BundleError
from .slide_names import TableNames, without_suffix
from .splits import Split, check_split
from .text_tables import read_table

_SIDES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
}


@dataclass(frozen=True)
class SplitFile:
    """What a file of splits says.

    Attributes:
        splits: over rows of the evaluation.
        kind: "folds" (column ``fold``: every fold is predicted once) or "fixed" (column ``split``).
        notes: sentences for the reader: rows that match nothing, patients that the file leaves out.
    """

    splits: list[Split]
    kind: str
    notes: list[str] = field(default_factory=list)


def read_splits(path: str | Path, units: Sequence[str], slides: Sequence[Sequence[str]]) -> SplitFile:
    """Read a CSV with a column ``slide`` (id or file name) or ``patient``, and ``split`` or ``fold``.

    ``split`` holds train, test or val; val is left out of both sides. ``fold`` holds a whole number: in the split
    called "fold 3" rows of fold 3 are predicted and those of all other folds learned from. Empty: left out. Slides of a
    patient that the file leaves out go with the patient's others.

    Args:
        path: the file.
        units: patient of each row of the evaluation.
        slides: slides of each row.

    Raises:
        BundleError: no such file or column; a row twice; a word that is no side; a patient on both sides or in two
            folds; nothing to learn from or to predict; fewer than two folds.
    """
    path = Path(path)
    records, key, column = _read(path)
    said, unknown = _match(records, units, slides if key == "slide" else [[unit] for unit in units], path)
    notes = []
    if not any(said):
        raise BundleError(
            f"no row of {path} matches a {key} of this evaluation: it names {_few(list(records)) or 'nothing'}; there "
            f"are {_few([name for group in slides for name in group] if key == 'slide' else units)}."
        )
    if unknown:
        what = f"rows of {path.name} match no {key} of the evaluation"
        notes.append(f"{len(unknown)} {what}, such as {', '.join(unknown[:3])}.")
    side_of: list[str | None] = [_one_side(found, unit, key, path) for unit, found in zip(units, said, strict=True)]
    missing = [unit for unit, side in zip(units, side_of, strict=True) if side is None]
    if missing:
        notes.append(f"{len(missing)} patients have no {column} in {path.name} and are left out ({_few(missing)}).")
    splits = _fixed(side_of, units, notes) if column == "split" else _folds(side_of, path)
    for split in splits:
        try:
            check_split(split)
        except BundleError as error:
            raise BundleError(f"{path}: {error}") from error
    return SplitFile(splits, "fixed" if column == "split" else "folds", notes)


def split_faults(path: str | Path, units: Sequence[str], slides: Sequence[Sequence[str]]) -> list[str]:
    """All that is wrong with a file of splits, a sentence each, where :func:`read_splits` stops at the first.

    Args:
        path, units, slides: see there.
    """
    path, faults = Path(path), []
    try:
        records, key, _ = _read(path)
        said, unknown = _match(records, units, slides if key == "slide" else [[unit] for unit in units], path)
        for unit, found in zip(units, said, strict=True):
            try:
                _one_side(found, unit, key, path)
            except BundleError as error:
                faults.append(str(error))
        if unknown:
            faults.append(f"{path}: {len(unknown)} rows match no {key}, such as {', '.join(unknown[:3])}.")
        if not faults:
            read_splits(path, units, slides)
    except BundleError as error:
        faults.append(str(error))
    return faults


def _read(path: Path) -> tuple[dict[str, str], str, str]:
    """Side or fold of each name ("" where empty), and which columns were read."""
    table = read_table(path, "file of splits", ("slide", "patient"))
    columns = table.columns
    keys, kinds = [c for c in ("slide", "patient") if c in columns], [c for c in ("split", "fold") if c in columns]
    if not keys or len(kinds) != 1:
        raise BundleError(
            f"{path} has the columns {', '.join(columns) or 'none'}; give slide (or patient), and one of split (train, "
            "test, val) and fold (a whole number)."
        )
    key, column = keys[0], kinds[0]
    found: dict[str, str] = {}
    for line, row in table.rows:
        name = row[key]
        if not name:
            raise BundleError(f"{path}, line {line}: the column {key!r} is empty; name a {key}.")
        if name in found:
            raise BundleError(f"{path}, line {line}: {key} {name!r} stands there twice; keep one row a {key}.")
        found[name] = _word(row[column], column, f"{path}, line {line}")
    return found, key, column


def _word(word: str, column: str, where: str) -> str:
    if not word:
        return ""
    if column == "split":
        if word.lower() not in _SIDES:
            raise BundleError(f"{where}: {word!r} is no side of a split; write train, test or val.")
        return _SIDES[word.lower()]
    try:
        number = float(word)
        if number != int(number):
            raise ValueError
    except (ValueError, OverflowError) as error:
        raise BundleError(f"{where}: fold {word!r} is no whole number; write 0, 1, 2 ...") from error
    return str(int(number))


def _match(
    records: dict[str, str], units: Sequence[str], names: Sequence[Sequence[str]], path: Path
) -> tuple[list[dict[str, str]], list[str]]:
    """What the file says of the names of each row, and the file's names that are nobody's."""
    table = TableNames(records, str(path))
    table.own((name, "") for group in names for name in group)
    said: list[dict[str, str]] = [{} for _ in units]
    taken: dict[str, str] = {}
    hits = table.find_all([(name, None) for group in names for name in group])
    for row, group in enumerate(names):
        for name in group:
            found = hits[name]
            if found is None:
                continue
            if taken.setdefault(found.name, name) != name:
                raise BundleError(
                    f"{path}: the row {found.name!r} may be {name} or {taken[found.name]}; name it by id."
                )
            said[row][name] = records[found.name]
    unknown = [name for name in records if name not in taken]
    for name, known in ((name, without_suffix(name)) for name in unknown):
        if records.get(known, records[name]) != records[name]:
            raise BundleError(f"{known!r} stands in the file of splits with and without suffix; keep one row of it.")
    return said, unknown


def _one_side(said: dict[str, str], unit: str, key: str, path: Path) -> str | None:
    """Where a patient stands; None: nowhere."""
    sides = {side for side in said.values() if side}
    if len(sides) > 1:
        where = ", ".join(f"{slide} in {side}" for slide, side in list(said.items())[:6])
        raise BundleError(
            f"{path}: the {key}s of patient {unit!r} stand on different sides ({where}): what is learned from one "
            "would be tested on the other. Put them on one side."
        )
    return next(iter(sides), None)


def _fixed(side_of: Sequence[str | None], units: Sequence[str], notes: list[str]) -> list[Split]:
    unused = [unit for unit, side in zip(units, side_of, strict=True) if side == "val"]
    if unused:
        notes.append(f"{len(unused)} patients marked val are neither learned from nor predicted ({_few(unused)}).")
    sides = np.array([side or "" for side in side_of], dtype=object)
    return [Split("test", np.flatnonzero(sides == "train"), np.flatnonzero(sides == "test"))]


def _folds(side_of: Sequence[str | None], path: Path) -> list[Split]:
    fold = np.array([-1 if side is None else int(side) for side in side_of], dtype=np.int64)
    used = np.array([side is not None for side in side_of])
    numbers = np.unique(fold[used])
    if len(numbers) < 2:
        raise BundleError(f"{path} has {len(numbers)} fold of patients of this evaluation; it takes two at least.")
    return [Split(f"fold {n}", np.flatnonzero(used & (fold != n)), np.flatnonzero(used & (fold == n))) for n in numbers]


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
