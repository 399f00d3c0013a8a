"""Demo slides and planted cohorts, made on the spot."""

from .planted import PlantedCohort, PlantedSlide, planted_tokens

__all__ = ["PlantedCohort", "PlantedSlide", "planted_tokens"]
