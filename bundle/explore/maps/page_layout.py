"""How panels of one shape are laid on a page."""

from __future__ import annotations

import math
import textwrap
from typing import NamedTuple

_WIDTH_IN, _HEIGHT_IN, _LEAST_WIDTH_IN = 10.0, 7.5, 5.0  # of the page: at most, at most, at least
_LEAST_PANEL_IN = 0.9  # narrower ones leave no room for their titles
_SIDE_IN, _GAP_IN = 1.0, 0.08  # color scale and margins; between panels
_TITLE_IN, _HEAD_IN, _BAR_IN = 0.27, 0.55, 0.3  # of a row of panels, of the page, of the scale bar
_NEARLY = 0.85
_LETTERS_AN_INCH = 11


class PageLayout(NamedTuple):
    """Rows and columns of panels, inches of a panel across, inches of the page."""

    rows: int
    columns: int
    panel_in: float
    page_in: tuple[float, float]


def lay_out(n_panels: int, aspect: float, legend_in: float = 0.0) -> PageLayout:
    """The arrangement with the largest panels, or one with nearly as large ones that is wider and less high.

    Args:
        n_panels: at least 1.
        aspect: height of a panel over its width.
        legend_in: height of what stands below all panels.
    """
    around = _HEAD_IN + _BAR_IN + legend_in

    def panel_in(columns: int) -> float:
        rows = math.ceil(n_panels / columns)
        across = (_WIDTH_IN - _SIDE_IN) / columns - _GAP_IN
        return min(across, ((_HEIGHT_IN - around) / rows - _TITLE_IN) / aspect)

    widths = {columns: panel_in(columns) for columns in range(1, n_panels + 1)}
    largest = max(widths.values())
    columns = max(n for n, width in widths.items() if width >= _NEARLY * largest)
    width, rows = max(widths[columns], _LEAST_PANEL_IN), math.ceil(n_panels / columns)
    page = columns * (width + _GAP_IN) + _SIDE_IN, rows * (width * aspect + _TITLE_IN) + around
    return PageLayout(rows, columns, width, (max(page[0], _LEAST_WIDTH_IN), page[1]))


def folded(text: str, width_in: float) -> str:
    """A name without spaces in as many lines as a page of this width needs."""
    return "\n".join(textwrap.wrap(text, max(12, int(width_in * _LETTERS_AN_INCH))))
