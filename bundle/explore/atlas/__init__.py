"""The tissue of a cohort on one page."""
