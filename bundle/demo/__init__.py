"""Demo slides and planted cohorts, made on the spot."""

from .planted import PlantedCohort, planted_tokens

__all__ = ["PlantedCohort", "planted_tokens"]
