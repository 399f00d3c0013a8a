"""Slides as a cohort: ids, table, patients, splits, and what became of each slide of a run."""

from .harmonizing import SiteMaps, center_groups, center_site, centers_slides, combat, rows_by_site
from .outcomes import EMBEDDED, MAPPED, TOKENIZED, OutcomeTable, SlideOutcome
from .patients import PatientRows, duplicates_across, find_duplicates, fingerprint_of, pool_patients
from .quarantine import read_quarantine, without_excluded, write_quarantine
from .slide_ids import Known, SlideRef, find_slides, is_file_name
from .slide_names import SLIDE_SUFFIXES, twin_key
from .slide_table import SlideRow, SlideTable, shown_values
from .split_files import SplitFile, read_splits, separated_patients, split_faults
from .splits import Split, check_splits, fraction_of, on_both_sides, patient_folds
from .text_tables import TextTable, is_missing, read_table, with_slide_column

__all__ = [
    "EMBEDDED",
    "Known",
    "MAPPED",
    "OutcomeTable",
    "PatientRows",
    "SLIDE_SUFFIXES",
    "SiteMaps",
    "SlideOutcome",
    "SlideRef",
    "SlideRow",
    "SlideTable",
    "Split",
    "SplitFile",
    "TOKENIZED",
    "TextTable",
    "center_groups",
    "center_site",
    "centers_slides",
    "check_splits",
    "combat",
    "duplicates_across",
    "find_duplicates",
    "find_slides",
    "fingerprint_of",
    "fraction_of",
    "is_file_name",
    "is_missing",
    "on_both_sides",
    "patient_folds",
    "pool_patients",
    "read_quarantine",
    "read_splits",
    "read_table",
    "rows_by_site",
    "separated_patients",
    "shown_values",
    "split_faults",
    "twin_key",
    "with_slide_column",
    "without_excluded",
    "write_quarantine",
]
