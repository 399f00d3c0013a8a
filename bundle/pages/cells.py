"""Figures with their uncertainty as tables of pages show them."""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol


class Uncertain(Protocol):
    """A figure, the bounds of its interval, and a deviation; what is not known is NaN."""

    @property
    def value(self) -> float:
        """The figure."""

    @property
    def low(self) -> float:
        """Lower bound."""

    @property
    def high(self) -> float:
        """Upper bound."""

    @property
    def sd(self) -> float:
        """Standard deviation."""


class Cell(NamedTuple):
    """A figure: ``0.873 ± 0.041`` or a dash, ``[0.791, 0.955]`` or '', whether it is apart from those of other rows."""

    text: str
    bounds: str = ""
    is_best: bool = False


def cell_of(interval: Uncertain, signed: bool = False, digits: int = 3) -> Cell:
    """What is not finite is left out; with a sign there is no deviation; ``digits`` behind the point."""
    if not math.isfinite(interval.value):
        return Cell("–")
    form = f"{'+' if signed else ''}.{digits}f"
    spread = f" ± {interval.sd:.{digits}f}" if math.isfinite(interval.sd) and not signed else ""
    is_bounded = math.isfinite(interval.low) and math.isfinite(interval.high)
    bounds = f"[{interval.low:{form}}, {interval.high:{form}}]" if is_bounded else ""
    return Cell(f"{interval.value:{form}}{spread}".replace("-", "−"), bounds.replace("-", "−"))


def p_text(p: float) -> str:
    """A p-value to three digits, a dash where there is none."""
    if not math.isfinite(p):
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
