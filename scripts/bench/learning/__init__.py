"""Does SLPD learn? Its arms against DINO alone, on planted cohorts whose truth is known."""

from .arms import ABLATIONS, PLAIN, SETTINGS, SHIFTED, SHIFTED_ABLATIONS, Arm
from .cohorts import LEVELS, PlantedTokens, Size, make_cohort
from .probes import probe
from .results import Results
from .training import train, untrained

__all__ = [
    "ABLATIONS",
    "LEVELS",
    "PLAIN",
    "SETTINGS",
    "SHIFTED",
    "SHIFTED_ABLATIONS",
    "Arm",
    "PlantedTokens",
    "Results",
    "Size",
    "make_cohort",
    "probe",
    "train",
    "untrained",
]
