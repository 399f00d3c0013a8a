"""Apps around the bundle: MONAI Label's answers about slides, MONAI Deploy's operators."""

from .answers import QUESTIONS, Question
from .slide_box import SlideBox

__all__ = ["QUESTIONS", "Question", "SlideBox"]
