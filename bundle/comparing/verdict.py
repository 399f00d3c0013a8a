"""From an evaluation to one table and its last lines: who is better than whom, or that the data are too few to tell."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..core import BundleError
from ..pages import cell_of

TOKENS, UNTRAINED = "tokens", "untrained"  # what evaluating calls the encoders that are always there
_VECTOR, _BAG = ("linear", "cox"), ("mil", "mil_survival")  # of classes, of survival
_PROTOCOLS = {"linear": "linear probe", "cox": "Cox", "mil": "attention MIL", "mil_survival": "attention MIL"}
_FEATURES = {
    "mean_token": "mean of all tokens",
    "region_embedding": "mean of regions",
    "regions": "regions",
    "patch_tokens": "tokens",
    "slide_vector": "slide vector",
}
_FIGURES = {"auc": "AUC", "quadratic_kappa": "quadratic kappa", "c_index": "c-index"}
_MANY = 200  # patients
_RIVALS = "the best of mean token and attention MIL on tokens"
# evaluation, two of its methods -> the first minus the second, as evaluating has it
Compare = Callable[[Any, Any, Any], Any]


class Row(NamedTuple):
    """A method of the evaluation.

    Attributes:
        name, rest: what it is called on the page.
        method: as evaluating has it.
        summary: its metrics by name, with their intervals.
        difference: the judged method minus this one, in the main metric; None for the judged one itself.
    """

    name: str
    rest: str
    method: Any
    summary: dict[str, Any]
    difference: Any | None


class Line(NamedTuple):
    """A last line: against whom, the row that stands for it, and what is to be said."""

    against: str
    row: Row
    text: str


class Verdict(NamedTuple):
    """The table, and what follows from it.

    Attributes:
        judged: name of the method that is judged.
        metric: the main metric, and ``title`` in words.
        rows: the rivals, the untrained encoder, slide vectors, what was trained.
        lines: the last lines.
        rule: how intervals are made and read.
        digits: behind the point that so many patients carry.
    """

    judged: str
    metric: str
    title: str
    rows: list[Row]
    lines: list[Line]
    rule: str
    digits: int


def verdict(evaluation: Any, methods: Sequence[str], compare: Compare) -> Verdict:
    """Judge the last of ``methods`` by a linear probe (survival: Cox) on its mean region embedding.

    That way was chosen before there were metrics; of the two rivals the better one counts.

    Args:
        evaluation: what evaluating found.
        methods: names of what was trained.
        compare: the difference of two methods in the task's main metric, on the same patients.

    Raises:
        BundleError: the evaluation lacks the judged method or both rivals.
    """
    largest = max(result.method.train_fraction for result in evaluation.results)
    found = [result for result in evaluation.results if result.method.train_fraction == largest]
    judged = _one(found, methods[-1], "region_embedding", _VECTOR)
    asked = (_one(found, TOKENS, "mean_token", _VECTOR), _one(found, TOKENS, "patch_tokens", _BAG))
    rivals = [result for result in asked if result is not None]
    if judged is None or len(rivals) < len(asked):
        raise BundleError(
            "the evaluation has no mean token, attention MIL on tokens or linear probe to compare: its features must "
            "have mean_token, region_embedding and patch_tokens, its protocols linear and mil (survival: cox and "
            "mil_survival)."
        )
    rows = [
        Row(
            *_words(r.method),
            r.method,
            r.summary,
            None if r is judged else compare(evaluation, judged.method, r.method),
        )
        for r in sorted(found, key=lambda result: _place(result.method.encoder, methods))
    ]
    row_of = {row.method: row for row in rows}
    metric = next(row.difference.metric for row in rows if row.difference is not None)
    best = max((row_of[r.method] for r in rivals), key=lambda row: _worth(row.summary[metric].value))
    title = _FIGURES.get(metric, metric)
    others = {f"{_RIVALS} ({_called(best)})": best}
    for name in methods[:-1]:
        other = _one(found, name, "region_embedding", _VECTOR)
        others |= {name: row_of[other.method]} if other else {}
    digits = _digits(len(evaluation.units), list(others.values()))
    lines = [_line(methods[-1], against, row, title, digits) for against, row in others.items()]
    return Verdict(methods[-1], metric, title, rows, lines, _rule(evaluation, row_of[judged.method], title), digits)


def _one(results: Sequence[Any], encoder: str, features: str, protocols: Sequence[str]) -> Any | None:
    own = (r for r in results if r.method.encoder == encoder and r.method.features == features)
    return next((result for result in own if result.method.protocol in protocols), None)


def _words(method: Any) -> tuple[str, str]:
    how = f"{_PROTOCOLS.get(method.protocol, method.protocol)} on {_FEATURES.get(method.features, method.features)}"
    if method.encoder == TOKENS:
        return ("patch tokens" if method.features == "patch_tokens" else "mean token"), how
    return ("untrained encoder" if method.encoder == UNTRAINED else method.encoder), how


def _called(row: Row) -> str:
    return row.name if row.method.features == "mean_token" else row.rest


def _place(encoder: str, methods: Sequence[str]) -> int:
    """Rivals first, then the untrained encoder, slide vectors, what was trained."""
    if encoder in methods:
        return 3 + methods.index(encoder)
    return {TOKENS: 0, UNTRAINED: 1}.get(encoder, 2)


def _worth(value: float) -> float:
    return value if math.isfinite(value) else -math.inf


def _digits(n_patients: int, rows: Sequence[Row]) -> int:
    """Two of fewer patients than 200, whose third digit says nothing, unless a bound would look like 0."""
    bounds = [bound for row in rows if row.difference is not None for bound in row.difference.difference[1:3]]
    return 2 if n_patients < _MANY and all(not abs(bound) < 0.005 for bound in bounds) else 3


def _line(judged: str, against: str, row: Row, title: str, digits: int) -> Line:
    assert row.difference is not None, "only the judged method has none"
    interval = row.difference.difference
    cell = cell_of(interval, signed=True, digits=digits)
    said = "too few data to tell"
    if interval.low > 0:
        said = f"{judged} is better here"
    elif interval.high < 0:
        said = f"{judged} is worse here"
    elif not (math.isfinite(interval.low) and math.isfinite(interval.high)):
        said = "no interval can be given, too few data to tell"
    metric = f"{cell.text} {cell.bounds}".rstrip()
    return Line(against, row, f"{judged} against {against}: {metric} {title}, {said}.")


def _rule(evaluation: Any, judged: Row, title: str) -> str:
    how = (
        f"Student's t over the {len(evaluation.splits)} folds by patient, with Nadeau and Bengio's variance for folds "
        "that share training patients"
        if evaluation.split_kind == "folds"
        else "a bootstrap of the tested patients, bias-corrected and accelerated"
    )
    return (
        f"{judged.name} is judged by a {judged.rest}, a way that was chosen before there were metrics; of the two "
        f"rivals the one with the higher {title} counts. Differences are paired on the same patients, their 95 % "
        f"intervals are those of evaluating: {how}. Better or worse is said where an interval lies on one side of 0, "
        "else that the data are too few to tell. Intervals are of patients, not of other trainings: each encoder was "
        "trained once."
    )
