"""From slides to rows: one row a patient, so that no patient ever stands on both sides of a split."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core import BundleError
from .splits import Split


@dataclass(frozen=True)
class PatientRows:
    """Patients with their slides.

    Attributes:
        units: name of each patient, in the order of their first slides.
        slides: ids of the slides of each.
        members: their places in the list of slides that was pooled.
        values: what is to be predicted of each: a label, or (time, event).
        sites: site of each, None where unknown.
        notes: sentences for the reader: what was left out, what does not agree.
    """

    units: list[str]
    slides: list[list[str]]
    members: list[list[int]]
    values: list[Any]
    sites: list[str | None]
    notes: list[str] = field(default_factory=list)


def pool_patients(
    slide_ids: Sequence[str],
    patients: Sequence[str],
    values: Sequence[str | None] | NDArray[np.float64],
    sites: Sequence[str | None] | None = None,
    what: str = "label",
) -> PatientRows:
    """One row a patient. Slides without a value are left out and counted in a note.

    Args:
        slide_ids: every slide.
        patients: patient of each.
        values: label of each or None, or time and event [n, 2] (NaN: unknown).
        sites: site of each; a patient seen at several counts for the first, with a note.
        what: what the values are called in messages.

    Raises:
        BundleError: slides of one patient have different values, or none has any.
    """
    found = [_value(value) for value in values]
    places: dict[str, list[int]] = {}
    for place, (patient, value) in enumerate(zip(patients, found, strict=True)):
        if value is not None:
            places.setdefault(patient, []).append(place)
    if not places:
        raise BundleError(f"none of the {len(slide_ids)} slides has a {what}: fill the slide table's column.")
    for patient, members in places.items():
        if len({found[m] for m in members}) > 1:
            said = ", ".join(f"{slide_ids[m]} has {_readable(found[m])}" for m in members[:6])
            raise BundleError(
                f"the slides of patient {patient!r} differ in {what} ({said}): a patient is one row and has one "
                f"{what}. Correct the slide table, or give the slides patients of their own."
            )
    notes = _left_out([s for s, value in zip(slide_ids, found, strict=True) if value is None], what)
    row_sites = [_one_site([sites[m] for m in members] if sites else [], p, notes) for p, members in places.items()]
    groups = list(places.values())
    slides = [[slide_ids[m] for m in group] for group in groups]
    return PatientRows(list(places), slides, groups, [found[group[0]] for group in groups], row_sites, notes)


def find_duplicates(fingerprints: Mapping[str, str]) -> list[list[str]]:
    """Groups of slides that share a fingerprint (`fingerprint_of` their features): copies under several names."""
    groups: dict[str, list[str]] = {}
    for slide, fingerprint in fingerprints.items():
        groups.setdefault(fingerprint, []).append(slide)
    return [sorted(group) for group in groups.values() if len(group) > 1]


def fingerprint_of(features: NDArray[Any]) -> str:
    """SHA-256 of an array's shape, dtype and values."""
    digest = hashlib.sha256(f"{features.shape} {features.dtype.str}".encode())
    digest.update(np.ascontiguousarray(features).data)
    return digest.hexdigest()


def duplicates_across(
    duplicates: Sequence[Sequence[str]], splits: Sequence[Split], slides: Sequence[Sequence[str]]
) -> list[list[str]]:
    """The groups of duplicates of which one slide is learned from and another predicted in the same split.

    Args:
        duplicates: from `find_duplicates`.
        splits: rows of the evaluation.
        slides: slides of each row.
    """
    row_of = {slide: row for row, group in enumerate(slides) for slide in group}
    groups = [({row_of[slide] for slide in group if slide in row_of}, list(group)) for group in duplicates]
    sides = [(set(split.train.tolist()), set(split.test.tolist())) for split in splits]
    return [group for rows, group in groups if any(rows & train and rows & test for train, test in sides)]


def _value(value: Any) -> Any:
    """A label as it is, (time, event) as a tuple; None where unknown."""
    if value is None or isinstance(value, str):
        return value or None
    time, event = (float(v) for v in value)
    return None if np.isnan(time) or np.isnan(event) else (time, event)


def _readable(value: Any) -> str:
    return repr(value) if isinstance(value, str) else f"time {value[0]:g}, event {value[1]:g}"


def _left_out(slides: list[str], what: str) -> list[str]:
    if not slides:
        return []
    return [f"{len(slides)} slides without {what} are left out, such as {', '.join(slides[:3])}."]


def _one_site(found: list[str | None], patient: str, notes: list[str]) -> str | None:
    known = list(dict.fromkeys(site for site in found if site))
    if len(known) > 1:
        notes.append(f"patient {patient} has slides of several sites ({', '.join(known)}) and counts for {known[0]}.")
    return known[0] if known else None
