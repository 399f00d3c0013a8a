"""Slides as a cohort: ids, tables, flags, errors, and what a run starts with."""

from .atlas import Atlas, AtlasKind, AtlasSlide, letters
from .command_line import begin, check_command_line
from .errors import BundleError, SettingError, SlideError
from .files import flush_file, flush_folder, is_alive, write_bytes, write_text
from .findings import Arm, Comparison, Evaluation, Interval, Predictions, Result
from .flags import as_bool
from .history import read_history
from .patients import PatientRows, duplicates_across, find_duplicates, fingerprint_of, pool_patients
from .recorded import DAMAGED_FILE, encoder_key, plain_value
from .settings import as_number, as_whole, check_device, check_folder
from .similar import PrototypePair, RegionPlace, SearchAnswer, SimilarRegions, SimilarSlide
from .slide_ids import SLIDE_SUFFIXES, SlideRef, find_slides, is_file_name
from .slide_table import SlideRow, SlideTable, shown_values
from .split_files import SplitFile, read_splits
from .splits import Split, check_split, check_splits, fraction_of, patient_folds

__all__ = [
    "Arm",
    "Atlas",
    "AtlasKind",
    "AtlasSlide",
    "BundleError",
    "Comparison",
    "DAMAGED_FILE",
    "Evaluation",
    "Interval",
    "PatientRows",
    "Predictions",
    "PrototypePair",
    "RegionPlace",
    "Result",
    "SLIDE_SUFFIXES",
    "SearchAnswer",
    "SettingError",
    "SimilarRegions",
    "SimilarSlide",
    "SlideError",
    "SlideRef",
    "SlideRow",
    "SlideTable",
    "Split",
    "SplitFile",
    "as_bool",
    "as_number",
    "as_whole",
    "begin",
    "check_command_line",
    "check_device",
    "check_folder",
    "check_split",
    "check_splits",
    "duplicates_across",
    "encoder_key",
    "find_duplicates",
    "find_slides",
    "fingerprint_of",
    "flush_file",
    "flush_folder",
    "fraction_of",
    "is_alive",
    "is_file_name",
    "letters",
    "patient_folds",
    "plain_value",
    "pool_patients",
    "read_history",
    "read_splits",
    "shown_values",
    "write_bytes",
    "write_text",
]
