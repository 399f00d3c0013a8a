"""What a run will take, before it is started: slides that are bad, regions, disk, and hours on this machine."""

from .budget import Budget, Count, Plan, Rates, budget, count_regions
from .page import as_json, as_text
from .preflight import Look, look_at_slides
from .probes import probe_encoding, probe_reading, probe_training

__all__ = [
    "Budget",
    "Count",
    "Look",
    "Plan",
    "Rates",
    "as_json",
    "as_text",
    "budget",
    "count_regions",
    "look_at_slides",
    "probe_encoding",
    "probe_reading",
    "probe_training",
]
