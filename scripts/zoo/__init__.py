"""From a trained model to a folder and a zip that others can download, check and load."""

from .archive import write_archive
from .build import Package, PackageOptions, build_package
from .model import RegionModel, read_model, untrained_model
from .rules import broken_rules
from .verification import Check, verify_package

__all__ = [
    "Check",
    "Package",
    "PackageOptions",
    "RegionModel",
    "broken_rules",
    "build_package",
    "read_model",
    "untrained_model",
    "verify_package",
    "write_archive",
]
