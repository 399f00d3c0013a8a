"""Our parts beside a slow restatement of the published way, in one run."""

from .measure import Case, Timing, Variant, measure
from .report import markdown, picture

__all__ = ["Case", "Timing", "Variant", "markdown", "measure", "picture"]
