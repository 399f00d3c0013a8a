"""Numbers of tables, with as many digits as their uncertainty supports."""

import math

import pytest

from bundle.pages.cells import Interval, cell_of

NAN = math.nan


@pytest.mark.parametrize(
    ("interval", "text", "bounds"),
    [
        (Interval(0.7512, 0.6, 0.9, 0.1, "bootstrap", 9), "0.75 ± 0.10", "[0.60, 0.90]"),
        (Interval(0.7512, 0.749, 0.753, 0.001, "bootstrap", 9), "0.751 ± 0.001", "[0.749, 0.753]"),
        (Interval(0.5, NAN, NAN, 0.0, "nadeau-bengio", 2), "0.50 ± 0.00", ""),  # two folds that agree by chance
        (Interval(0.5, NAN, NAN, 0.001, "nadeau-bengio", 2), "0.500 ± 0.001", ""),
        (Interval(-0.25, -0.5, 0.004, 0.1, "bootstrap", 9), "−0.250 ± 0.100", "[−0.500, 0.004]"),
    ],
)
def test_digits_are_those_that_mean_something(interval, text, bounds):
    """Two; three where the interval is narrow but no point, or where a bound would look like nothing."""
    assert cell_of(interval)[:2] == (text, bounds)
