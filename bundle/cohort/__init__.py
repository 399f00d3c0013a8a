"""Slides as a cohort: ids, table, patients, splits, and what became of each slide of a run."""

from .outcomes import EMBEDDED, MAPPED, TOKENIZED, OutcomeTable, SlideOutcome
from .patients import PatientRows, duplicates_across, find_duplicates, fingerprint_of, pool_patients
from .slide_ids import Known, SlideRef, find_slides, is_file_name
from .slide_names import SLIDE_SUFFIXES, twin_key
from .slide_table import SlideRow, SlideTable, shown_values
from .split_files import SplitFile, read_splits
from .splits import Split, check_splits, fraction_of, patient_folds

__all__ = [
    "EMBEDDED",
    "Known",
    "MAPPED",
    "OutcomeTable",
    "PatientRows",
    "SLIDE_SUFFIXES",
    "SlideOutcome",
    "SlideRef",
    "SlideRow",
    "SlideTable",
    "Split",
    "SplitFile",
    "TOKENIZED",
    "check_splits",
    "duplicates_across",
    "find_duplicates",
    "find_slides",
    "fingerprint_of",
    "fraction_of",
    "is_file_name",
    "patient_folds",
    "pool_patients",
    "read_splits",
    "shown_values",
    "twin_key",
]
