"""Similar slides and regions: an index on disk, exact searches, answers that explain themselves."""
