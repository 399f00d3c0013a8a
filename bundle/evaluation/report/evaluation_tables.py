"""Tables of an evaluation as HTML: figures of all arms, comparisons, confusion, settings. Every word is escaped."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from ..findings import Comparison, Evaluation, Interval
from ..metrics.curves import holm
from .evaluation_rows import METRICS, arm_name, drawn_arms, metric, metric_names, p_text, pooled, readable, share_text

_METHODS = {
    "nadeau-bengio": "t distribution over the {n} folds, variance corrected for training sets that overlap "
    "(Nadeau and Bengio), cut at the figure's range; ± is the standard deviation over folds",
    "bootstrap": "bootstrap of the tested patients, {n:,} samples, bias-corrected and accelerated (exact "
    "binomial where all are alike); ± is their standard deviation",
}


def table(head: Sequence[str], rows: Sequence[Sequence[str]], label: str, kind: str = "") -> str:
    """A table in a box of its own that scrolls sideways; cells are HTML already, the first of a row is its heading."""
    top = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>' + "".join(_cell(cell) for cell in row[1:]) + "</tr>" for row in rows
    )
    box = f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(label)}">'
    return f'{box}<table class="{kind}"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(cell: str) -> str:
    return cell if cell.startswith("<td") else f"<td>{cell}</td>"


def results_table(evaluation: Evaluation) -> str:
    """All arms and metrics, ``mean ± sd [low, high]``; what the intervals are and what the metrics mean below."""
    names = metric_names(evaluation)
    marked = {name: _clearly_best(evaluation, name) for name in names}
    head = ['encoder<br><span class="quiet">features, protocol, share of the training patients</span>']
    head += [escape(metric(name).title) for name in names]
    rows = []
    for position, result in enumerate(evaluation.results):
        arm = result.arm
        dagger = " †" if evaluation.pretraining_overlap.get(arm.encoder) else ""
        rest = ", ".join([readable(arm.features), readable(arm.protocol), share_text(arm)])
        row = [f'{escape(readable(arm.encoder))}{dagger}<br><span class="quiet">{escape(rest)}</span>']
        for name in names:
            text = interval_cell(result.summary[name]) if name in result.summary else "–"
            row.append(f'<td class="best">{text}</td>' if marked[name] == position else text)
        rows.append(row)
    is_marked = any(position is not None for position in marked.values())
    return table(head, rows, "results", "numbers") + _notes(evaluation, is_marked) + _meanings(names)


def _notes(evaluation: Evaluation, is_marked: bool) -> str:
    notes = [f"Intervals: 95 %, {method}." for method in _methods(evaluation)]
    notes += _missing_folds(evaluation)
    if is_marked:
        notes.append("Bold: this interval lies apart from those of all other rows.")
    if any(evaluation.pretraining_overlap.values()):
        notes.append("† pre-trained on slides that it is tested on here.")
    return f"<p>{' '.join(notes)}</p>"


def _missing_folds(evaluation: Evaluation) -> list[str]:
    """A sentence a metric that some folds could not give."""
    found = []
    for name in metric_names(evaluation) if evaluation.split_kind == "folds" else []:
        n = min(result.summary[name].n for result in evaluation.results if name in result.summary)
        if n < len(evaluation.splits):
            title = escape(metric(name).title)
            found.append(f"{title}: over as few as {n} of {len(evaluation.splits)} folds, where it can be told.")
    return found


def _meanings(names: Sequence[str]) -> str:
    known = [metric(name) for name in names if name in METRICS]
    words = "".join(f"<dt>{escape(item.title)}</dt><dd>{escape(item.meaning)}</dd>" for item in known)
    return f"<dl>{words}</dl>" if words else ""


def interval_cell(interval: Interval, signed: bool = False) -> str:
    """``0.873 ± 0.041`` over ``[0.791, 0.955]``; what is not finite is left out, a dash without a value."""
    if not math.isfinite(interval.value):
        return "–"
    sign = "+" if signed else ""
    text = f"{interval.value:{sign}.3f}"
    if math.isfinite(interval.sd) and not signed:
        text += f" ± {interval.sd:.3f}"
    if math.isfinite(interval.low) and math.isfinite(interval.high):
        text += f'<br><span class="quiet">[{interval.low:{sign}.3f}, {interval.high:{sign}.3f}]</span>'
    return text.replace("-", "−")


def _methods(evaluation: Evaluation) -> list[str]:
    """How the intervals of the table were made, each way once."""
    found: dict[str, int] = {}
    for result in evaluation.results:
        for interval in result.summary.values():
            if math.isfinite(interval.low):
                found[interval.method] = max(interval.n, found.get(interval.method, 0))
    return [
        _METHODS.get(method, escape(method)).replace("{n:,}", f"{n:,}").replace("{n}", str(n))
        for method, n in found.items()
    ]


def _clearly_best(evaluation: Evaluation, name: str) -> int | None:
    """The row whose interval is better than, and apart from, that of every other row; mostly there is none."""
    sign = metric(name).sign
    known = [(i, r.summary[name]) for i, r in enumerate(evaluation.results) if name in r.summary]
    known = [(position, interval) for position, interval in known if math.isfinite(interval.value)]
    if sign == 0 or len(known) < 2:
        return None
    best, interval = max(known, key=lambda item: sign * item[1].value)
    near, far = (interval.low, "high") if sign > 0 else (interval.high, "low")
    apart = [sign * (near - getattr(other, far)) > 0 for position, other in known if position != best]
    return best if all(apart) else None


def comparisons_table(evaluation: Evaluation) -> str:
    """Differences between arms on the same patients, with p-values as they are and adjusted for their number."""
    found = evaluation.comparisons
    if not found:
        return "<p>No arms were compared.</p>"
    adjusted = holm([comparison.p_value for comparison in found])
    rows = [_comparison_row(comparison, p) for comparison, p in zip(found, adjusted, strict=True)]
    head = ["first − second", "metric", "difference", "p", "p, Holm"]
    lower = {metric(c.metric).title for c in found if metric(c.metric).sign < 0}
    note = f"{len(found)} comparison{'s were' if len(found) != 1 else ' was'} made, each on the same patients; "
    note += "“p, Holm” is adjusted for their number. Intervals: 95 %. "
    note += "An interval that holds 0 says that the data cannot tell the two apart, not that they are equal."
    if lower:
        note += f" Lower is better for {escape(', '.join(sorted(lower)))}."
    return table(head, rows, "comparisons", "numbers") + f"<p>{note}</p>"


def _comparison_row(comparison: Comparison, adjusted: float) -> list[str]:
    pairs = [_minus(*map(readable, pair)) for pair in zip(comparison.a[:3], comparison.b[:3], strict=True)]
    pairs.append(_minus(share_text(comparison.a), share_text(comparison.b)))
    arms = f'{escape(pairs[0])}<br><span class="quiet">{escape(", ".join(pairs[1:]))}</span>'
    title = escape(metric(comparison.metric).title)
    difference = interval_cell(comparison.difference, signed=True)
    return [arms, title, difference, escape(p_text(comparison.p_value)), escape(p_text(adjusted))]


def _minus(first: str, second: str) -> str:
    return first if first == second else f"{first} − {second}"


def confusion_tables(evaluation: Evaluation) -> dict[str, str]:
    """Arm -> counts of predicted (columns) by true class (rows), tinted by the share of the row."""
    n_classes, tables = len(evaluation.classes), {}
    names = [escape(name) for name in evaluation.classes]
    for arm in drawn_arms(evaluation):
        predicted = pooled(evaluation, arm)
        counts = np.zeros((n_classes, n_classes), int)
        np.add.at(counts, (evaluation.targets[predicted.rows].astype(int), predicted.scores.argmax(1)), 1)
        rows = []
        for name, row in zip(names, counts, strict=True):
            shares = row / max(row.sum(), 1)
            rows.append([name, *(_tinted(int(n), float(share)) for n, share in zip(row, shares, strict=True))])
        tables[arm_name(arm)] = table(["true \\ predicted", *names], rows, "confusion", "confusion")
    return tables


def _tinted(count: int, share: float) -> str:
    ink = "#fff" if share > 0.55 else "#111"
    return f'<td style="background:rgba(0,86,140,{share:.2f});color:{ink}">{count}</td>'


def settings_table(settings: Mapping[str, Any]) -> str:
    """What the run was asked for, a line a setting; nested ones with dots."""
    rows = [[escape(name), escape(value)] for name, value in _flat(settings)]
    return table(["setting", "value"], rows, "settings", "settings") if rows else "<p>None were recorded.</p>"


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list | tuple):
            yield f"{prefix}{name}", ", ".join(map(str, value)) or "–"
        else:
            yield f"{prefix}{name}", "–" if value is None or value == {} else str(value)
