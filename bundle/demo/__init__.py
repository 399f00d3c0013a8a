"""Demo slides and planted cohorts, made on the spot."""

from .demo_slides import make_demo_slides
from .planted import PlantedCohort, PlantedSlide, planted_tokens

__all__ = ["PlantedCohort", "PlantedSlide", "make_demo_slides", "planted_tokens"]
