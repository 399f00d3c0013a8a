"""What is predicted of whom: patients, their targets and their splits, from a slide table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..cohort import PatientRows, SlideTable, Split, SplitFile, check_splits, patient_folds, pool_patients, read_splits
from ..core import BundleError, as_bool, as_whole
from .row_units import row_names, unit_notes, with_overlap

TASKS = ("auto", "classification", "ordinal", "survival")


@dataclass(frozen=True)
class EvaluationRows:
    """Patients and what is to be predicted of each.

    Attributes:
        task: "classification", "ordinal" or "survival".
        label: the column, or "time / event".
        classes: names, in the order of class indices; empty for survival.
        patients: one row a patient.
        targets: class index [n], int64, or time and event [n, 2], float64.
        notes: sentences for the reader.
        patient_of: patient of each row; empty: each row is one.
        unit: "patient" or "slide".
        allows_overlap: a patient may stand on both sides of a split, with different slides.
    """

    task: str
    label: str
    classes: list[str]
    patients: PatientRows
    targets: NDArray[Any]
    notes: list[str] = field(default_factory=list)
    patient_of: list[str] = field(default_factory=list)
    unit: str = "patient"
    allows_overlap: bool = False


def evaluation_rows(
    slide_ids: Sequence[str],
    table: SlideTable,
    label: str = "label",
    task: str = "auto",
    *,
    classes: Sequence[Any] | None = None,
    ordered: bool = False,
    time: str | None = None,
    event: str | None = None,
    censored: str | None = None,
    site: str | None = "site",
    slide_paths: Sequence[str] = (),
    unit: str = "patient",
    splits: str | Path | None = None,
    allow_patient_overlap: bool = False,
) -> EvaluationRows:
    """Pool slides to patients and read what is to be predicted.

    Args:
        slide_ids: every slide that has features.
        table: has ``label``, or ``time`` and ``event``; ``patient`` and ``site`` where known.
        label: column of the class.
        task: "auto" is survival where ``time`` and ``event`` are given, else ordinal where ``ordered``, else
            classification.
        classes: the classes to tell apart, for ordinal ones in ascending order; None: all there are, numbers in their
            order. Slides of other classes are left out.
        ordered: classes are grades or stages.
        time: column of the time to the event or to the end of observation.
        event: column that says whether the event was seen.
        censored: column that says the opposite, in place of ``event``.
        site: column of the hospital, or of whatever else is to make no difference: the scanner, the stain;
            None: sites are not looked at.
        slide_paths: names of the slides' own files, by which the table may know them.
        unit: "patient", or "slide": each slide is a row, as in evaluations that do not look at patients.
        splits: file or folder of splits, which says what patients it takes apart.
        allow_patient_overlap: such patients are no error, see :func:`~bundle.evaluation.row_units.row_names`.

    Raises:
        BundleError: a setting or a column is missing or wrong; slides of a patient disagree; one class only.
    """
    task = _task(task, as_bool(ordered), time, event, censored)
    table.match(slide_ids, slide_paths)
    sites, allows = _sites(table, slide_ids, site), as_bool(allow_patient_overlap)
    patients = table.patients(slide_ids)
    names = row_names(slide_ids, patients, unit, splits, allows)
    if task == "survival":
        end = censored if event is None else event
        assert time is not None and end is not None, "the task needs both, as was checked"
        outcomes = table.survival(slide_ids, time, end, is_opposite=event is None)
        rows = pool_patients(slide_ids, names, outcomes, sites, "time and event")
        label = f"{time} / {end}"
        found = EvaluationRows(task, label, [], rows, np.array(rows.values, np.float64), list(rows.notes))
    else:
        found = _class_rows(slide_ids, table, names, label, task, classes, sites)
    patient_of = [patients[members[0]] for members in found.patients.members]
    notes = [*found.notes, *unit_notes(found.patients.units, patient_of, unit)]
    return replace(found, notes=notes, patient_of=patient_of, unit=unit, allows_overlap=allows)


def _sites(table: SlideTable, slide_ids: Sequence[str], site: str | None) -> list[str | None]:
    if site is None:
        return [None] * len(slide_ids)
    return table.sites(slide_ids) if site == "site" else table.labels(slide_ids, site)


def evaluation_splits(
    rows: EvaluationRows,
    n_folds: int | str = 10,
    splits: str | Path | None = None,
    preserve_sites: bool = False,
    seed: int = 0,
) -> SplitFile:
    """Folds by patient, or what a file says.

    Args:
        rows: patients and targets.
        n_folds: at least 2; ``auto``: 10, or as many as the patients allow; not used where there is a file.
        splits: CSV, see :func:`bundle.cohort.read_splits`; None: folds.
        preserve_sites: no site on both sides of a fold.
        seed: of the folds.

    Raises:
        BundleError: folds cannot be made, or a split cannot be used.
    """
    patients, names = rows.patients, rows.classes or None
    keeps_sites = as_bool(preserve_sites)
    if splits is not None:
        found = read_splits(splits, patients.units, patients.slides, rows.patient_of or None)
    else:
        if keeps_sites and not any(patients.sites):
            raise BundleError("preserve_sites is true, but no slide has a site: fill the slide table's column site.")
        sites = patients.sites if keeps_sites else None
        most = 10 if n_folds == "auto" else as_whole(n_folds, "n_folds", 2)
        fewest = 2 if n_folds == "auto" else most
        found = SplitFile(_folds(rows.targets, most, fewest, as_whole(seed, "seed"), sites, names), "folds")
    notes = check_splits(found.splits, rows.targets, names, patients.sites)
    found = SplitFile(found.splits, found.kind, [*found.notes, *notes])
    return with_overlap(found, rows.patient_of or patients.units, rows.allows_overlap)


def _folds(
    targets: NDArray[Any],
    most: int,
    fewest: int,
    seed: int,
    sites: Sequence[str | None] | None,
    names: Sequence[str] | None,
) -> list[Split]:
    """The most folds that the patients allow."""
    try:
        return patient_folds(targets, most, seed, sites, names)
    except BundleError:
        if most == fewest:
            raise
        return _folds(targets, most - 1, fewest, seed, sites, names)


def _class_rows(
    slide_ids: Sequence[str],
    table: SlideTable,
    row_of: Sequence[str],
    label: str,
    task: str,
    classes: Sequence[Any] | None,
    sites: Sequence[str | None],
) -> EvaluationRows:
    """Patients and their classes; ``row_of``: name of the row of each slide; else as for :func:`evaluation_rows`."""
    labels = table.labels(slide_ids, label, [] if classes is None else [str(name) for name in classes])
    order = _order(labels, classes, label, task)
    strangers = [s for s, value in zip(slide_ids, labels, strict=True) if value is not None and value not in order]
    kept = [value if value in order else None for value in labels]
    if not any(kept):
        found = ", ".join(sorted({value for value in labels if value}))
        raise BundleError(f"no slide is of the classes {', '.join(order)}: the column {label!r} holds {found}.")
    what = label if label == "label" else f"label ({label})"
    rows = pool_patients(slide_ids, row_of, kept, sites, what)
    targets = np.array([order.index(value) for value in rows.values], np.int64)
    if len(np.unique(targets)) < 2:
        raise BundleError(
            f"all {len(targets)} labelled patients are of one class in the column {label!r}, {order[targets[0]]!r}: "
            "there is nothing to tell apart; give another --label, or label more slides."
        )
    notes = list(rows.notes)
    if strangers:
        notes.append(f"{len(strangers)} slides of other classes are left out, such as {', '.join(strangers[:3])}.")
    absent = [name for i, name in enumerate(order) if i not in targets]
    if absent:
        notes.append(f"no patient is of class {', '.join(absent)}.")
    return EvaluationRows(task, label, order, rows, targets, notes)


def _task(task: str, ordered: bool, time: str | None, event: str | None, censored: str | None) -> str:
    if task not in TASKS:
        raise BundleError(f"task is {task!r}; give one of {', '.join(TASKS)}.")
    if event is not None and censored is not None:
        raise BundleError(f"event={event!r} and censored={censored!r} say the same, one the opposite; give one.")
    ends = event if censored is None else censored
    if (time is None) != (ends is None) or (task == "survival" and time is None):
        raise BundleError(
            f"survival needs two columns of the slide table: got time={time!r} and event={event!r}; give --time and "
            "--event (or --censored), or neither."
        )
    if task == "auto":
        return "survival" if time is not None else "ordinal" if ordered else "classification"
    return task


def _order(labels: Sequence[str | None], classes: Sequence[Any] | None, label: str, task: str) -> list[str]:
    """Names of the classes in the order of their indices."""
    if classes is not None:
        if isinstance(classes, str) or len(classes) < 2 or len({str(name) for name in classes}) < len(classes):
            raise BundleError(f"classes is {classes!r}; give a list of at least two, each once.")
        return [str(name) for name in classes]
    found = sorted({value for value in labels if value})
    numbers = [_number(value) for value in found]
    if all(math.isfinite(number) for number in numbers):
        return [name for _, name in sorted(zip(numbers, found, strict=True))]
    if task == "ordinal":
        raise BundleError(
            f"the order of the classes in the column {label!r} is not known, they are no numbers "
            f"({', '.join(found[:6])}): give them as --classes, in ascending order."
        )
    return found


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
