"""Answers about slides for MONAI Label and MONAI Deploy."""

from .answers import QUESTIONS, Question
from .slide_box import SlideBox

__all__ = ["QUESTIONS", "Question", "SlideBox"]
