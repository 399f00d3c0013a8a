"""Slides as a cohort: ids, tables, flags, errors, and what a run starts with."""

from .command_line import begin, check_command_line
from .errors import BundleError, SettingError, SlideError
from .files import write_text
from .flags import as_bool
from .settings import as_number, as_whole, check_device, check_folder
from .slide_ids import SLIDE_SUFFIXES, SlideRef, find_slides
from .slide_table import SlideRow, SlideTable

__all__ = [
    "BundleError",
    "SLIDE_SUFFIXES",
    "SettingError",
    "SlideError",
    "SlideRef",
    "SlideRow",
    "SlideTable",
    "as_bool",
    "as_number",
    "as_whole",
    "begin",
    "check_command_line",
    "check_device",
    "check_folder",
    "find_slides",
    "write_text",
]
