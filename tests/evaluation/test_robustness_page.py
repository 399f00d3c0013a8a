"""Robustness on the page of an evaluation: a table and a curve, or nothing where nothing could be told."""

import math
import re

import numpy as np
from evaluations import bare_evaluation, cells, write

from bundle.cohort import Split
from bundle.evaluation.findings import Interval, Robustness
from bundle.evaluation.report.evaluation_robustness import robustness_panels

NASTY = "<b>A</b>"


def interval(value):
    return Interval(value, value - 0.1, value + 0.1, 0.05, "bootstrap", 200)


def evaluation(n_encoders=1, settings=None):
    """Four patients, nothing predicted, an index and two probes an encoder."""
    split = Split("test", np.array([0, 2]), np.array([1, 3]))
    found = bare_evaluation([0, 1, 0, 1], [split], sites=list("xxyy"), split_kind="fixed", settings=settings or {})
    for number in range(n_encoders):
        name = f"{NASTY} {number}"
        curve = {1: interval(0.4), 3: Interval(0.625, math.nan, math.nan, 0.0, "bootstrap", 200)}
        found.robustness += [
            Robustness(name, "region_embedding", "robustness_index", 3, curve[3], 2 / 3, curve),
            Robustness(name, "regions", "slide_identity", 0, interval(0.75), 0.25, {}),
            Robustness(name, "regions", "site_identity", 0, interval(0.5), math.nan, {}),
        ]
    return found


def test_a_row_a_figure_with_what_is_random(tmp_path):
    """The index at its k, the probes, bounds where there are any, the encoder's name as text, and what it all means."""
    text = write(evaluation(2), tmp_path)
    headings = re.findall(r"<h2[^>]*>(.*?)</h2>", text)
    assert headings[1:4] == ["Comparisons", "Robustness", "ROC curves"]
    rows = [[" ".join(cell.split()) for cell in row] for row in cells(text, "robustness")]
    escaped = "&lt;b&gt;A&lt;/b&gt;"
    assert rows[0] == [f"{escaped} 0 region embedding", "robustness index, k = 3", "0.62 ± 0.00", "0.667"]
    assert rows[2] == [f"{escaped} 0 bag of regions", "slide identity", "0.75 ± 0.05 [0.65, 0.85]", "0.250"]
    assert len(rows) == 6 and rows[5][3] == "–" and NASTY not in text
    assert text.count("<dt>robustness index</dt>") == text.count("<dt>site identity</dt>") == 1
    assert "Harmonized by" not in text


def test_what_was_harmonized_is_said(tmp_path):
    """With who was asked for; slides that are centered on their own learn from nobody."""
    by_site, by_slide = (
        " ".join(write(evaluation(1, {"harmonize": method}), tmp_path).split()) for method in ("combat", "center_slide")
    )
    assert "Harmonized by combat" in by_site and "in the splits that test it" in by_site
    assert "whatever the splits, with slides centered" in by_slide and "Harmonized by" not in by_slide


def test_without_figures_there_is_no_part(tmp_path):
    """Nothing is promised that is not there."""
    text = write(evaluation(0), tmp_path)
    assert "Robustness" not in text and text.count("<h2") == text.count('<a href="#part-')


def test_a_curve_an_encoder_and_one_for_random_neighbors():
    """More encoders than colors go to a second panel."""
    assert [len(panel.keys) for panel in robustness_panels(evaluation(9))] == [8, 3]
    assert robustness_panels(evaluation(0)) == []
