"""What a row of an evaluation is: a patient, a slide, or a slide of a patient whose slides splits take apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..cohort import SplitFile, on_both_sides, separated_patients
from ..core import BundleError

UNITS = ("patient", "slide")


def row_names(
    slide_ids: Sequence[str], patients: Sequence[str], unit: str, splits: str | Path | None, allow_overlap: bool
) -> list[str]:
    """The row that each slide belongs to, by name.

    Args:
        slide_ids: every slide.
        patients: patient of each.
        unit: "patient": slides of a patient are pooled; "slide": each stands by itself.
        splits: file or folder of splits; None: folds will be made.
        allow_overlap: a patient whose slides the splits put on different sides is taken apart, a row a slide; all
            other patients are pooled.

    Raises:
        BundleError: the unit is none; rows are slides, and there is no file of splits.
    """
    if unit not in UNITS:
        raise BundleError(f"unit is {unit!r}; choose from {', '.join(UNITS)}.")
    if unit == "slide":
        if splits is None:
            raise BundleError("unit is slide, and folds are made of patients; give --splits, or leave --unit out.")
        return list(slide_ids)
    if not allow_overlap or splits is None:
        return list(patients)
    slides: dict[str, list[str]] = {}
    for slide, patient in zip(slide_ids, patients, strict=True):
        slides.setdefault(patient, []).append(slide)
    apart = set(separated_patients(splits, list(slides), list(slides.values())))
    return [f"{p} ({slide})" if p in apart else p for slide, p in zip(slide_ids, patients, strict=True)]


def unit_notes(units: Sequence[str], patient_of: Sequence[str], unit: str) -> list[str]:
    """What a reader is to know of rows that are no patients."""
    if unit == "slide":
        n = len(set(patient_of))
        return [
            f"Each slide is a row of its own: {len(units)} slides of {n} patients; metrics and intervals are of them."
        ]
    apart = {patient for name, patient in zip(units, patient_of, strict=True) if name != patient}
    if not apart:
        return []
    return [
        f"{len(apart)} patients have slides on different sides of a split: each of their slides is a row of its own."
    ]


def with_overlap(found: SplitFile, patient_of: Sequence[str], is_allowed: bool) -> SplitFile:
    """Splits, with the patients who stand on both of their sides.

    Raises:
        BundleError: there are some, and that is not allowed.
    """
    overlap = on_both_sides(found.splits, patient_of)
    if not overlap:
        return found
    said = overlap_text(overlap)
    if not is_allowed:
        first = next(iter(overlap.values()))[0]
        raise BundleError(
            f"{said} of the file of splits, such as {first!r}: what is learned from one slide would be tested on "
            "another of the same patient. Split by patient; splits that were published so are run with "
            "allow_patient_overlap: true (docs/protocols.md)."
        )
    note = f"{said}, as allow_patient_overlap allows: metrics may be too good."
    return SplitFile(found.splits, found.kind, [*found.notes, note], overlap)


def overlap_text(overlap: Mapping[str, Sequence[str]]) -> str:
    """ "57 patients have slides on both sides of a split (7 in split 0, ...)"."""
    n = len({patient for patients in overlap.values() for patient in patients})
    where = ", ".join(f"{len(patients)} in {name}" for name, patients in overlap.items())
    return f"{n} {'patient has' if n == 1 else 'patients have'} slides on both sides of a split ({where})"
