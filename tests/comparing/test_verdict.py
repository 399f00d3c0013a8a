"""What is said of whom, from an evaluation's metrics."""

import json
import math
import re
import sys
from functools import partial

import numpy as np
import pytest
from browser import assert_fits
from evaluations import bare_evaluation

from bundle.cohort import Split
from bundle.comparing.comparison_page import Shown, Told, write_comparison
from bundle.comparing.plan import Plan
from bundle.comparing.verdict import _digits, verdict
from bundle.core import BundleError
from bundle.evaluation import Method, compare_methods
from bundle.evaluation.evaluation_statistics import comparisons, results
from bundle.evaluation.findings import Predictions

N, N_FOLDS = 200, 10
SURE, WEAK, NONE = 1.6, 0.3, 0.0


def method(encoder, features, protocol):
    """Learned from everybody."""
    return Method(encoder, features, protocol, 1.0)


MEAN, TOKENS = method("tokens", "mean_token", "linear"), method("tokens", "patch_tokens", "mil")
UNTRAINED, BROUGHT = method("untrained", "region_embedding", "linear"), method("TITAN", "slide_vector", "linear")
DINO, SLPD = method("DINO", "region_embedding", "linear"), method("SLPD", "region_embedding", "linear")
BAGS = method("SLPD", "regions", "mil")


def evaluated(signals, kind="folds", n_folds=N_FOLDS):
    """An evaluation of two classes whose methods see the class as clearly as ``signals`` say, each with its noise."""
    targets = np.arange(N) % 2
    rows = np.split(np.arange(N), n_folds)
    rows = rows if kind == "folds" else rows[:1]
    splits = [Split(f"fold {i + 1}", np.setdiff1d(np.arange(N), r), r) for i, r in enumerate(rows)]
    found = bare_evaluation(targets, splits, label="grade", split_kind=kind)
    for number, (way, signal) in enumerate(signals.items()):
        noise = np.random.default_rng(number).standard_normal(N)
        sure = 1 / (1 + np.exp(-signal * (2 * targets - 1) - noise))
        scores = np.stack([1 - sure, sure], 1)
        found.predictions += [Predictions(way, s.name, s.test, scores[s.test], len(s.train)) for s in splits]
    found.results = results(found, 200, 0)
    found.comparisons = comparisons(found, 200, 0)
    return found


def judged(signals, kind="folds"):
    """The verdict on SLPD."""
    return verdict(evaluated(signals, kind), ["DINO", "SLPD"], partial(compare_methods, n_bootstrap=200))


USUAL = {MEAN: WEAK, TOKENS: NONE, DINO: WEAK, SLPD: SURE, UNTRAINED: NONE, BROUGHT: WEAK, BAGS: NONE}


@pytest.mark.parametrize("kind", ["folds", "fixed"])
def test_differences_are_those_of_evaluating(kind):
    """Pairs that evaluating compares, too, have its numbers to the bit; metrics are its own."""
    found, own = judged(USUAL, kind), evaluated(USUAL, kind)
    theirs = {(c.a, c.b): c for c in own.comparisons}
    row_of = {row.method: row for row in found.rows}
    assert row_of[MEAN].difference == theirs[SLPD, MEAN] and row_of[DINO].difference == theirs[SLPD, DINO]
    assert [str(row_of[r.method].summary) for r in own.results] == [str(r.summary) for r in own.results]  # NaN is NaN
    assert (SLPD, TOKENS) not in theirs and row_of[TOKENS].difference.metric == "auc"


def test_rows_have_an_order_and_names():
    """Rivals, the untrained encoder, slide vectors, what was trained, whatever order evaluating has."""
    found = judged(USUAL)
    assert [(row.name, row.rest) for row in found.rows] == [
        ("mean token", "linear probe on mean of all tokens"),
        ("patch tokens", "attention MIL on tokens"),
        ("untrained encoder", "linear probe on mean of regions"),
        ("TITAN", "linear probe on slide vector"),
        ("DINO", "linear probe on mean of regions"),
        ("SLPD", "linear probe on mean of regions"),
        ("SLPD", "attention MIL on regions"),
    ]
    assert [row.difference is None for row in found.rows] == [False] * 5 + [True, False]


@pytest.mark.parametrize(
    ("change", "rival", "first", "second"),
    [
        ({}, "mean token", "SLPD is better here", "SLPD is better here"),
        ({TOKENS: SURE}, "attention MIL on tokens", "too few data to tell", "SLPD is better here"),
        ({SLPD: WEAK, TOKENS: SURE}, "attention MIL on tokens", "SLPD is worse here", "too few data to tell"),
    ],
)
def test_the_last_lines(change, rival, first, second):
    """The better rival counts; a line takes a side where its interval lies on one side of 0, and only there."""
    found = judged({**USUAL, **change})
    lines = [line.text for line in found.lines]
    assert lines[0].startswith(f"SLPD against the best of mean token and attention MIL on tokens ({rival}): ")
    assert lines[1].startswith("SLPD against DINO: ")
    assert [text.partition("AUC, ")[2] for text in lines] == [f"{first}.", f"{second}."]
    for line in found.lines:
        value, low, high, *_ = line.row.difference.difference
        assert f"{value:+.3f} [{low:+.3f}, {high:+.3f}]".replace("-", "−") in line.text
        assert ("better" in line.text, "worse" in line.text) == (low > 0, high < 0)


def test_few_patients_carry_two_digits(monkeypatch):
    """Of fewer than 200, unless a bound of a last line would then read as 0."""
    monkeypatch.setattr(sys.modules[__name__], "N", 60)
    found = judged(USUAL)
    assert found.digits == 2 and re.search(r": [+−]0\.\d\d \[[+−]0\.\d\d, [+−]0\.\d\d\] AUC", found.lines[0].text)
    row = found.lines[0].row
    near = row.difference._replace(difference=row.difference.difference._replace(low=0.004))
    assert [_digits(n, [row._replace(difference=near)]) for n in (60, 200)] == [3, 3]
    assert [_digits(n, [row]) for n in (199, 200)] == [2, 3]


def test_no_difference_goes_beyond_what_there_is():
    """Two folds that disagree have a wide t interval; a difference of two AUCs lies within -1 and 1."""
    found = evaluated({MEAN: NONE, SLPD: SURE}, n_folds=2)
    for predicted in found.predictions:
        if predicted.method == MEAN:
            right = found.targets[predicted.rows] == 1
            sure = np.where(right == (predicted.split == "fold 1"), 0.9, 0.1)
            predicted.scores = np.stack([1 - sure, sure], 1)
    difference = compare_methods(found, SLPD, MEAN).difference
    assert (difference.low, difference.high) == (-1.0, 1.0) and 0 < difference.value < 1


def test_without_an_interval_nothing_is_claimed():
    """All folds alike give no interval, however large the difference."""
    found = judged({**USUAL, MEAN: -50.0, SLPD: 50.0, TOKENS: -50.0, DINO: -50.0})
    assert found.lines[1].row.difference.difference.value == 1.0
    assert math.isnan(found.lines[1].row.difference.difference.low)
    assert found.lines[1].text == "SLPD against DINO: +1.000 AUC, no interval can be given, too few data to tell."


def test_survival_is_judged_by_cox():
    """Cox takes the place of the linear probe, the c-index that of the AUC."""
    rng = np.random.default_rng(0)
    time, split = rng.exponential(size=N), Split("test", np.arange(N // 2), np.arange(N // 2, N))
    found = bare_evaluation(np.stack([time, rng.integers(0, 2, N)], 1), [split], split_kind="fixed")
    ways = {("tokens", "mean_token", "cox"): 0.0, ("tokens", "patch_tokens", "mil_survival"): 0.5,
            ("DINO", "region_embedding", "cox"): 0.5, ("SLPD", "region_embedding", "cox"): 9.0}  # fmt: skip
    for way, signal in ways.items():
        risk = rng.standard_normal(N) - signal * time
        found.predictions.append(
            Predictions(method(*way), "test", split.test, risk[split.test, None], len(split.train))
        )
    found.results = results(found, 200, 0)
    said = verdict(found, ["DINO", "SLPD"], partial(compare_methods, n_bootstrap=200))
    assert said.rows[-1].rest == "Cox on mean of regions" and "a bootstrap of the tested patients" in said.rule
    assert "attention MIL on tokens): +" in said.lines[0].text and "c-index, SLPD is better" in said.lines[0].text


def test_what_cannot_be_judged_is_refused():
    """Without a rival there is no verdict."""
    with pytest.raises(BundleError, match="must have mean_token, region_embedding and patch_tokens"):
        judged({way: signal for way, signal in USUAL.items() if way != TOKENS})


def test_the_page_and_the_tables(tmp_path):
    """One file fits a phone and a desk; words of the user are text; both lines end the Markdown; all digits in JSON."""
    found = judged(USUAL)
    pieces = [Shown("training SLPD", "1.5", "python -m monai.bundle run training --label '<b>x</b>'")]
    told = Told(
        "grade of 60 patients.",
        ["<i>careful</i></script><img src=x onerror=alert(1)>"],
        Plan("small", 9, 4, 1, 400, 2.0),
        "Trained.",
        pieces,
    )
    page = write_comparison(tmp_path, found, told).read_text()
    assert "<i>careful" not in page and "&lt;i&gt;careful" in page and "<b>x" not in page and "<img" not in page
    assert all(line.text in page and line.row.name in page for line in found.lines)
    text = (tmp_path / "comparison.md").read_text().splitlines()
    assert [line.rstrip() for line in text[-2:]] == [line.text for line in found.lines]
    rows = (tmp_path / "comparison.csv").read_text().splitlines()
    assert len(rows) == 8 and rows[0].startswith("encoder,features,protocol,auc,auc low,auc high,balanced_accuracy")
    kept = json.loads((tmp_path / "comparison.json").read_text())
    assert kept["rows"][0]["difference"]["difference"]["value"] == found.rows[0].difference.difference.value
    assert_fits(page, tmp_path)
