"""Splits that users bring along: a CSV that says where each slide or patient stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..core import BundleError
from .listed_splits import SIDES, listed_splits
from .slide_names import TableNames, without_suffix
from .splits import Split, check_split
from .text_tables import read_table


@dataclass(frozen=True)
class SplitFile:
    """What a file of splits says.

    Attributes:
        splits: over rows of the evaluation.
        kind: "folds" (column ``fold``, or several splits) or "fixed" (column ``split``, or one split).
        notes: sentences for the reader: rows that match nothing, patients that the file leaves out.
        overlap: split -> patients who stand on both of its sides, where that was allowed.
    """

    splits: list[Split]
    kind: str
    notes: list[str] = field(default_factory=list)
    overlap: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Matched:
    """One split of a file: what it says of the slides (or the patient) of each row, and its names that are nobody's."""

    name: str
    path: Path
    key: str
    column: str
    said: list[dict[str, str]]
    unknown: list[str]
    names: list[str]
    tests_val: bool = False


def read_splits(
    path: str | Path, units: Sequence[str], slides: Sequence[Sequence[str]], patients: Sequence[str] | None = None
) -> SplitFile:
    """Read a CSV with a column ``slide`` (id or file name) or ``patient``, and ``split`` or ``fold``.

    ``split`` holds train, test or val; val is left out of both sides. ``fold`` holds a whole number: in the split
    called "fold 3" rows of fold 3 are predicted and those of all other folds learned from. Empty: left out. Slides of a
    patient that the file leaves out go with the patient's others. What CLAM, HIPT and MCAT publish is read as it is:
    :func:`~bundle.cohort.listed_splits.listed_splits`.

    Args:
        path: the file, or the folder of published ones.
        units: name of each row of the evaluation.
        slides: slides of each row.
        patients: patient of each row; None: a row is a patient.

    Raises:
        BundleError: no such file or column; a row twice; a word that is no side; a patient on both sides or in two
            folds; nothing to learn from or to predict; fewer than two folds.
    """
    path = Path(path)
    patients = units if patients is None else patients
    matched = _matched(path, slides, patients)
    key, column, names = matched[0].key, matched[0].column, [name for each in matched for name in each.names]
    if not any(any(each.said) for each in matched):
        raise BundleError(
            f"no row of {path} matches a {key} of this evaluation: it names {_few(names) or 'nothing'}; there "
            f"are {_few([name for group in slides for name in group] if key == 'slide' else patients)}."
        )
    notes = []
    if unknown := list(dict.fromkeys(name for each in matched for name in each.unknown)):
        what = f"rows of {path.name} match no {key} of the evaluation"
        notes.append(f"{len(unknown)} {what}, such as {', '.join(unknown[:3])}.")
    sides = [[_one_side(said, unit, each) for unit, said in zip(units, each.said, strict=True)] for each in matched]
    missing = [unit for unit, *own in zip(units, *sides, strict=True) if not any(own)]
    if missing:
        rows = "patients" if list(patients) == list(units) else "rows"
        notes.append(f"{len(missing)} {rows} have no {column} in {path.name} and are left out ({_few(missing)}).")
    if column == "fold":
        splits = _folds(sides[0], path)
    else:
        splits = [_fixed(each.name, own) for each, own in zip(matched, sides, strict=True)]
        notes += _val_notes(matched, sides, units)
    for split in splits:
        try:
            check_split(split)
        except BundleError as error:
            raise BundleError(f"{path}: {error}") from error
    return SplitFile(splits, "folds" if column == "fold" or len(splits) > 1 else "fixed", notes)


def split_faults(path: str | Path, units: Sequence[str], slides: Sequence[Sequence[str]]) -> list[str]:
    """All that is wrong with a file of splits, a sentence each, where :func:`read_splits` stops at the first.

    Args:
        path, units, slides: see there.
    """
    path, faults = Path(path), []
    try:
        matched = _matched(path, slides, units)
        for each in matched:
            for unit, found in zip(units, each.said, strict=True):
                try:
                    _one_side(found, unit, each)
                except BundleError as error:
                    faults.append(str(error))
            if each.unknown:
                which = f"{len(each.unknown)} rows match no {each.key}, such as {', '.join(each.unknown[:3])}."
                faults.append(f"{each.path}: {which}")
        if not faults:
            read_splits(path, units, slides)
    except BundleError as error:
        faults.append(str(error))
    return faults


def separated_patients(path: str | Path, patients: Sequence[str], slides: Sequence[Sequence[str]]) -> list[str]:
    """Patients whose slides a file puts on different sides of a split, or into different folds.

    Args:
        path: see :func:`read_splits`.
        patients: n names.
        slides: slides of each.

    Raises:
        BundleError: the file cannot be read.
    """
    parted = set[str]()
    for split in _matched(Path(path), slides, patients):
        for patient, said in zip(patients, split.said, strict=True):
            if len({side for side in said.values() if side}) > 1:
                parted.add(patient)
    return [patient for patient in patients if patient in parted]


def _matched(path: Path, slides: Sequence[Sequence[str]], patients: Sequence[str]) -> list[_Matched]:
    """Every split of a file, or folder, with the rows that it speaks of."""
    of_patients = [[patient] for patient in patients]
    listed = listed_splits(path)
    if listed is None:
        records, key, column = _read(path)
        said, unknown = _match(records, slides if key == "slide" else of_patients, path)
        return [_Matched("test", path, key, column, said, unknown, list(records))]
    for key, names in (("slide", slides), ("patient", of_patients)):
        found = []
        for each in listed:
            said, unknown = _match(each.side_of, names, each.path)
            found.append(
                _Matched(each.name, each.path, key, "split", said, unknown, list(each.side_of), each.tests_val)
            )
        if any(any(each.said) for each in found):
            break
    return found


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
        if word.lower() not in SIDES:
            raise BundleError(f"{where}: {word!r} is no side of a split; write train, test or val.")
        return SIDES[word.lower()]
    try:
        number = float(word)
        if number != int(number):
            raise ValueError
    except (ValueError, OverflowError) as error:
        raise BundleError(f"{where}: fold {word!r} is no whole number; write 0, 1, 2 ...") from error
    return str(int(number))


def _match(
    records: dict[str, str], names: Sequence[Sequence[str]], path: Path
) -> tuple[list[dict[str, str]], list[str]]:
    """What the file says of the names of each row, and the file's names that are nobody's."""
    table = TableNames(records, str(path))
    table.own((name, "") for group in names for name in group)
    said: list[dict[str, str]] = [{} for _ in names]
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


def _one_side(said: dict[str, str], unit: str, split: _Matched) -> str | None:
    """Where a row stands; None: nowhere."""
    sides = {side for side in said.values() if side}
    if len(sides) > 1:
        where = ", ".join(f"{slide} in {side}" for slide, side in list(said.items())[:6])
        raise BundleError(
            f"{split.path}: the {split.key}s of patient {unit!r} stand on different sides ({where}): what is learned "
            "from one would be tested on the other. Put them on one side; splits that were published so are run with "
            "allow_patient_overlap: true (docs/protocols.md)."
        )
    return next(iter(sides), None)


def _fixed(name: str, side_of: Sequence[str | None]) -> Split:
    sides = np.array([side or "" for side in side_of], dtype=object)
    return Split(name, np.flatnonzero(sides == "train"), np.flatnonzero(sides == "test"))


def _val_notes(matched: Sequence[_Matched], sides: Sequence[Sequence[str | None]], units: Sequence[str]) -> list[str]:
    """What became of those that stand under val."""
    notes = []
    if any(each.tests_val for each in matched):
        notes.append("Nobody stands under test in the file of splits: those under val are predicted.")
    if len(matched) > 1:
        n_unused = [sum(side == "val" for side in own) for own in sides]
        if any(n_unused):
            most = f"{min(n_unused)} to {max(n_unused)}" if min(n_unused) < max(n_unused) else str(n_unused[0])
            notes.append(f"The {most} rows under val of each split are neither learned from nor predicted.")
        return notes
    unused = [unit for unit, side in zip(units, sides[0], strict=True) if side == "val"]
    if unused:
        notes.append(f"{len(unused)} patients marked val are neither learned from nor predicted ({_few(unused)}).")
    return notes


def _folds(side_of: Sequence[str | None], path: Path) -> list[Split]:
    fold = np.array([-1 if side is None else int(side) for side in side_of], dtype=np.int64)
    used = np.array([side is not None for side in side_of])
    numbers = np.unique(fold[used])
    if len(numbers) < 2:
        raise BundleError(f"{path} has {len(numbers)} fold of patients of this evaluation; it takes two at least.")
    return [Split(f"fold {n}", np.flatnonzero(used & (fold != n)), np.flatnonzero(used & (fold == n))) for n in numbers]


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
