"""Metrics over slides."""

from .slide_knn import SlideKNN

__all__ = ["SlideKNN"]
