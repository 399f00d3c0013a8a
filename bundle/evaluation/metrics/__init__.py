"""Metrics of classification, grading and survival, with intervals and comparisons."""
