"""Ways of reading patches that are compared must read the same patches."""

import gc
import importlib.util

import numpy as np
import pytest

from scripts.bench import reading
from scripts.bench.reading import SlideFiles, Task, Ways, reading_cases


@pytest.fixture(scope="module")
def files():
    """A drawn slide of 2,048 px."""
    return SlideFiles(drawn_px=1024)


@pytest.mark.parametrize(
    ("kind", "corner", "factor"), [("jpeg", 0, 1), ("jpeg", 128, 1), ("jpeg", 0, 2), ("jpeg2000", 0, 1)]
)
def test_all_ways_fill_the_same_batch(files, kind, corner, factor):
    """OpenSlide, cuCIM in two ways and ours: equal to the bit; bare decoding too, where tiles are patches."""
    mask = np.ones((3, 3), bool)
    mask[1, 1] = False
    ways = Ways(Task(getattr(files, kind), corner, corner, mask, factor), threads=2)
    batches = {}
    for variant in ways.variants():
        ways.batch.fill(0)
        variant.run()
        batches[variant.name] = ways.batch.copy()
    is_tile = corner == 0 and factor == 1
    assert len(batches) == (3 if factor > 1 else 5)
    for name, batch in batches.items():
        if is_tile or name != "direct tile decode":
            np.testing.assert_array_equal(batch, batches["read_patches"], name)


def test_cases_hold_together(files):
    """One reference each, goals name variants, work is the number of patches; a folder for all, gone at the end."""
    cases = reading_cases(files, threads=1, n=4)
    assert [case.work for case in cases] == [16, 16, 8, 9, 4]
    for case in cases:
        names = [variant.name for variant in case.variants]
        assert [variant.role for variant in case.variants].count("reference") == 1
        assert set(case.goal) <= set(names) and case.unit == "patches"
    path = SlideFiles(drawn_px=256).jpeg
    assert not path.exists()


def test_a_missing_library_leaves_its_variant_out(files, monkeypatch):
    """Without cuCIM and OpenSlide ours is compared with bare decoding alone."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    variants = Ways(Task(files.jpeg, 0, 0, np.ones((2, 2), bool)), 1).variants()
    assert [(variant.name, variant.role) for variant in variants] == [
        ("read_patches", "reference"),
        ("direct tile decode", "limit"),
    ]


def test_the_fuller_half_is_the_tissue(files):
    """Half of the patches, and those whose pixels differ most."""
    mask = reading._fuller_half(files.jpeg, 0, 4)
    ways = Ways(Task(files.jpeg, 0, 0, np.ones((4, 4), bool)), 1)
    ways.by_us()
    texture = ways.batch.reshape(16, -1).std(1)
    assert mask.sum() == 8 and texture[mask.ravel()].mean() > texture[~mask.ravel()].mean()


def test_slides_stay_while_they_are_read():
    """The files live as long as the cases; they used to go before the first run."""
    cases = reading_cases(SlideFiles(1024), threads=1, n=4)
    gc.collect()
    for variant in cases[0].variants:
        variant.run()
        assert variant.run.__self__.batch.any()
