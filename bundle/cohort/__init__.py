"""Slides as a cohort: ids, tables, flags, errors, and what a run starts with."""

from .command_line import begin, check_command_line
from .errors import BundleError, SlideError
from .flags import as_bool
from .slide_ids import SLIDE_SUFFIXES, SlideRef, find_slides
from .slide_table import SlideRow, SlideTable

__all__ = [
    "BundleError",
    "SLIDE_SUFFIXES",
    "SlideError",
    "SlideRef",
    "SlideRow",
    "SlideTable",
    "as_bool",
    "begin",
    "check_command_line",
    "find_slides",
]
