"""Demo slides and planted token cohorts: made on the spot, with a known truth."""

from .demo_slides import make_demo_slides
from .planted import PlantedCohort, PlantedSlide, planted_tokens

__all__ = ["PlantedCohort", "PlantedSlide", "make_demo_slides", "planted_tokens"]
