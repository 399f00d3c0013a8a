"""The benchmark of search measures what it says."""

import sys

import numpy as np
import pytest

from scripts.bench import search

pytest.importorskip("faiss")


def test_the_table_has_every_search(monkeypatch, capsys):
    """A row a search, each with a time."""
    monkeypatch.setattr(sys, "argv", ["search", "--slides", "300", "--queries", "2"])
    search.main()
    rows = [line.split("|") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")][1:]
    assert len(rows) == 4 and all(float(row[2]) > 0 for row in rows)


def test_all_ways_find_the_same(tmp_path):
    """With and without bounds the neighbors of a simulated slide are the same, itself first."""
    index = search.simulated_index(tmp_path, 300, batch=200)
    bounded, exhaustive = (search.NearestSlides(index, n) for n in (10, 300))
    for row in (0, 123, 299):
        prototypes = index.slides.prototypes[4 * row : 4 * row + 4]
        (a, similar), (b, _) = (each.by_sets(prototypes, 5, np.ones(300, bool)) for each in (bounded, exhaustive))
        assert a.tolist() == b.tolist() and a[0] == row and similar[0] == pytest.approx(1, abs=1e-5)
