"""Arrays to figures and tables."""

from .atlas_page import AtlasReport
from .atlas_sheets import AtlasSheets
from .evaluation_report import EvaluationReport
from .neighbors_files import NeighborsFiles
from .neighbors_page import NeighborsReport
from .prototype_map import PrototypePictures, draw_prototypes, prototype_colors
from .results_files import ResultsFiles
from .slide_report import SlideRecord, format_slide_report, read_slide_report, write_slide_report
from .training import plot_training

__all__ = [
    "AtlasReport",
    "AtlasSheets",
    "EvaluationReport",
    "NeighborsFiles",
    "NeighborsReport",
    "PrototypePictures",
    "ResultsFiles",
    "SlideRecord",
    "draw_prototypes",
    "format_slide_report",
    "plot_training",
    "prototype_colors",
    "read_slide_report",
    "write_slide_report",
]
