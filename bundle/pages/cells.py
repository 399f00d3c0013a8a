"""Figures with their uncertainty as tables of pages show them."""

from __future__ import annotations

import math
from typing import NamedTuple


class Interval(NamedTuple):
    """A metric with its uncertainty.

    Attributes:
        value: mean over folds, or the value on the test rows.
        low, high: bounds of the 95 % interval; NaN where it cannot be given.
        sd: standard deviation over folds, or of the bootstrap.
        method: "nadeau-bengio" or "bootstrap".
        n: folds, or bootstrap samples.
    """

    value: float
    low: float
    high: float
    sd: float
    method: str
    n: int


_NARROW = 0.02  # half of an interval; a third digit is told below
_ALMOST_NOTHING = 0.005  # what two digits round to 0


class Cell(NamedTuple):
    """A figure: ``0.87 ± 0.04`` or a dash, ``[0.79, 0.96]`` or '', whether it is apart from those of other rows."""

    text: str
    bounds: str = ""
    is_best: bool = False


def digits_of(interval: Interval) -> int:
    """Digits behind the point that a figure's uncertainty lets mean something: 2, or 3.

    3 where the interval (the deviation where there is none) is narrow, or where a bound would look like 0.
    """
    spread = (interval.high - interval.low) / 2
    spread = spread if math.isfinite(spread) else interval.sd
    looks_like_zero = any(0 < abs(bound) < _ALMOST_NOTHING for bound in (interval.low, interval.high))
    return 3 if spread < _NARROW or looks_like_zero else 2


def cell_of(interval: Interval, signed: bool = False, digits: int | None = None) -> Cell:
    """What is not finite is left out; with a sign there is no deviation; digits: None, as its interval has them."""
    if not math.isfinite(interval.value):
        return Cell("–")
    digits = digits_of(interval) if digits is None else digits
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
