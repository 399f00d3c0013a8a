"""Schedules."""

import pytest
import reference

from bundle.training import warmup_cosine


@pytest.mark.parametrize("warmup", [0, 1, 7, 30])
def test_schedule_equals_its_table(warmup):
    """Every step equals the table of ramp, half cosine and plateau, also when the warm-up outlasts the run."""
    for step in range(40):
        got = warmup_cosine(step, 25, 0.5, 1e-6, warmup=warmup, warmup_start=0.1)
        assert got == pytest.approx(reference.warmup_cosine(step, 25, 0.5, 1e-6, warmup, 0.1), abs=1e-15)


def test_impossible_steps_are_refused():
    """A negative step or an empty run raises."""
    with pytest.raises(ValueError, match="step and warmup"):
        warmup_cosine(-1, 10, 1.0, 0.0)
    with pytest.raises(ValueError, match="total"):
        warmup_cosine(0, 0, 1.0, 0.0)
