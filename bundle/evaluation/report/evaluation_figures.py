"""Metrics of an evaluation: ROC, calibration, survival by predicted risk, embeddings in the plane.

Every panel is a small picture of its own, so that a phone shows one below the other at a legible size. No word of the
user's stands inside a picture: names go to the key, which the page writes as text (any script, no cut ends).
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray
from sklearn.calibration import calibration_curve

from ...pages import OKABE_ITO, p_text
from ..findings import Evaluation, Method
from ..metrics.classification import calibration_error
from ..metrics.curves import log_rank_p, mean_roc, survival_curve, upper_half
from .evaluation_rows import Pooled, drawn_methods, method_name, per_test_set, pooled, readable, summary_text

# Yellow is left out, too pale for a line on white.
COLORS = tuple(OKABE_ITO[name] for name in ("blue", "vermillion", "green", "pink", "orange", "sky", "black"))
_LINES = (("-", "solid"), ("--", "dashed"), (":", "dotted"))
TEXT_SIZE = 8.5
BARS: dict[str, Any] = {"elinewidth": 0.9, "capsize": 2, "capthick": 0.9}


class Key(NamedTuple):
    """One line of a legend: ``label``, ``color`` and a CSS border style or, for points, a character as ``mark``."""

    label: str
    color: str
    mark: str


class Panel(NamedTuple):
    """One picture: SVG as a data URI (or nothing, where ``note`` says why), what it shows in words, its legend."""

    title: str
    svg: str
    alt: str
    keys: list[Key]
    note: str = ""


def new_axes(x_label: str, y_label: str, height: float = 3.1) -> tuple[Figure, Axes]:
    """A panel's figure and axes, 3.6 inches wide."""
    figure = Figure(figsize=(3.6, height), layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(x_label, fontsize=TEXT_SIZE)
    axes.set_ylabel(y_label, fontsize=TEXT_SIZE)
    axes.tick_params(labelsize=TEXT_SIZE)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def to_svg(figure: Figure) -> str:
    """The figure as SVG in a data URI: letters as paths, no date, the same text for the same figure."""
    buffer = io.BytesIO()
    with rc_context({"svg.hashsalt": "evaluation", "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()


class _Look(NamedTuple):
    """Of a method on its panel: ``color``, Matplotlib's ``line``, ``place`` among the panel's methods."""

    color: str
    line: str
    place: int


def roc_panels(evaluation: Evaluation) -> list[Panel]:
    """Mean ROC curve of every method, a panel a protocol."""

    def draw(axes: Axes, method: Method, look: _Look) -> str | None:
        band = mean_roc(per_test_set(evaluation, method))
        if band is None:
            return None
        axes.plot(band.fpr, band.tpr, color=look.color, linestyle=look.line, linewidth=1.6)
        if band.n_curves > 1:
            at = slice(6 + 2 * look.place, None, 2 * len(COLORS))  # bars, which hide nothing, each method's elsewhere
            below, above = np.minimum(band.sd, band.tpr), np.minimum(band.sd, 1 - band.tpr)
            axes.errorbar(band.fpr[at], band.tpr[at], (below[at], above[at]), fmt="none", ecolor=look.color, **BARS)
        return summary_text(evaluation, method, "auc")

    panels = _unit_panels(evaluation, "ROC curves", ("false positive rate", "true positive rate"), draw)
    return [p if p.keys else p._replace(svg="", note="No test set holds two classes.") for p in panels]


def calibration_panels(evaluation: Evaluation) -> list[Panel]:
    """Share of hits over the probability of the predicted class, in groups of about equally many rows; a panel a
    protocol."""

    def draw(axes: Axes, method: Method, look: _Look) -> str:
        rows, _, scores = pooled(evaluation, method)
        confidence, correct = scores.max(1), scores.argmax(1) == evaluation.targets[rows]
        right, sure = calibration_curve(correct, confidence, n_bins=calibration_groups(len(rows)), strategy="quantile")
        axes.plot(sure, right, look.line, color=look.color, linewidth=1.3, marker="o", markersize=4)
        return f"ECE {float(calibration_error(confidence, correct, np.ones((1, len(rows))))[0]):.3f}"

    titles = "probability of the predicted class", "share that is right"
    return _unit_panels(evaluation, "Reliability diagram", titles, draw)


def _unit_panels(
    evaluation: Evaluation, what: str, titles: tuple[str, str], draw: Callable[[Axes, Method, _Look], str | None]
) -> list[Panel]:
    """A unit square a protocol with its diagonal; ``draw`` gives a method's metric, None where nothing was drawn."""
    panels = []
    for title, methods in _methods_by_panel(evaluation):
        figure, axes = new_axes(*titles)
        axes.plot([0, 1], [0, 1], color="0.6", linewidth=0.8)
        keys = []
        for place, (index, method) in enumerate(methods):
            color, (line, style) = COLORS[index % len(COLORS)], _LINES[index % len(_LINES)]
            said = draw(axes, method, _Look(color, line, place))
            if said is not None:
                name = f"{readable(method.encoder)}, {readable(method.features)}"
                keys.append(Key(f"{name}: {said}" if said else name, color, style))
        axes.set_xlim(-0.01, 1.01)
        axes.set_ylim(-0.01, 1.02)
        axes.set_aspect("equal")
        panels.append(Panel(title, to_svg(figure), f"{what}: " + "; ".join(key.label for key in keys), keys))
    return panels


def calibration_groups(n_rows: int) -> int:
    """Points of a reliability diagram at most: as many as rows in each, 3 to 10."""
    return int(np.clip(round(n_rows**0.5), 3, 10))


def survival_panels(evaluation: Evaluation) -> list[Panel]:
    """Kaplan-Meier curves of the halves with lower and higher predicted risk, a panel a method."""
    return [_survival_panel(evaluation, method, pooled(evaluation, method)) for method in drawn_methods(evaluation)]


def _survival_panel(evaluation: Evaluation, method: Method, predicted: Pooled) -> Panel:
    time, event = evaluation.targets[predicted.rows, 0], evaluation.targets[predicted.rows, 1] > 0
    upper = upper_half(predicted.scores[:, 0], predicted.split)
    if not upper.any():
        return Panel(method_name(method), "", "", [], "All predicted risks are equal: there are no halves.")
    figure, axes = new_axes("time", "share without the event", height=3.4)
    keys = []
    for position, (half, name) in enumerate(((~upper, "lower"), (upper, "higher"))):
        color, (line, style) = COLORS[position], _LINES[position]
        curve = survival_curve(time[half], event[half])
        axes.step(curve.time, curve.survival, where="post", color=color, linestyle=line, linewidth=1.6)
        axes.fill_between(curve.time, curve.low, curve.high, step="post", color=color, alpha=0.13, linewidth=0)
        censored = time[half][~event[half]]
        height = curve.survival[np.searchsorted(curve.time, censored, side="right") - 1]
        axes.plot(censored, height, "|", color=color, markersize=5, markeredgewidth=0.9)
        keys.append(Key(f"{name} risk: {half.sum()} patients, {event[half].sum()} events", color, style))
    axes.set_xlim(0, time.max() * 1.02)
    axes.set_ylim(0, 1.03)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    _numbers_at_risk(axes, time, upper)
    p = log_rank_p(time, event, upper, predicted.split)
    metrics = [summary_text(evaluation, method, "c_index"), f"log-rank p {p_text(p)}"]
    note = ", ".join(filter(None, metrics))
    alt = f"Kaplan-Meier curves of two halves by predicted risk: {note}"
    return Panel(method_name(method), to_svg(figure), alt, keys, note)


def _numbers_at_risk(axes: Axes, time: NDArray[Any], upper: NDArray[np.bool_]) -> None:
    ticks = [tick for tick in MaxNLocator(4).tick_values(0, time.max()) if 0 <= tick <= time.max()]
    axes.set_xticks(ticks)
    across = axes.get_xaxis_transform()
    for row, half in enumerate((~upper, upper)):
        for tick in ticks:
            left, height = str(int((time[half] >= tick).sum())), -0.24 - 0.075 * row
            axes.text(tick, height, left, color=COLORS[row], size=TEXT_SIZE - 1, ha="center", transform=across)


def _methods_by_panel(evaluation: Evaluation) -> Iterator[tuple[str, list[tuple[int, Method]]]]:
    """Methods of one protocol, at most as many as there are colors; what they learn from has one color everywhere."""
    methods = drawn_methods(evaluation)
    sources: Sequence[tuple[str, str]] = list(dict.fromkeys((method.encoder, method.features) for method in methods))
    groups: dict[tuple[str, int], list[tuple[int, Method]]] = {}
    for method in methods:
        index = sources.index((method.encoder, method.features))
        groups.setdefault((method.protocol, index // len(COLORS)), []).append((index, method))
    for (protocol, part), members in groups.items():
        yield readable(protocol) + (f" ({part + 1})" if part else ""), members
