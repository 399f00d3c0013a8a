"""What all pages share: frame, style, colors, texts."""

from .cells import Cell, Interval, cell_of, digits_of, p_text
from .frame import RegionPicture, SlidePicture, cosine, jpeg_uri, percent, render, slide_uri, write_page
from .palette import LUMA, NO_PROTOTYPE, OKABE_ITO, prototype_colors
from .result_texts import csv_text, plain, write_results

__all__ = [
    "Cell",
    "Interval",
    "LUMA",
    "NO_PROTOTYPE",
    "OKABE_ITO",
    "RegionPicture",
    "SlidePicture",
    "cell_of",
    "cosine",
    "csv_text",
    "digits_of",
    "jpeg_uri",
    "p_text",
    "percent",
    "plain",
    "prototype_colors",
    "render",
    "slide_uri",
    "write_page",
    "write_results",
]
