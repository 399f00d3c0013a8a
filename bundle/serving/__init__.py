"""Answers about slides for MONAI Label and MONAI Deploy."""

__all__ = []
