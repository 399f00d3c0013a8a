"""Finished runs as a picture: every seed a dot, the mean with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bundle.pages import OKABE_ITO

from .methods import Method
from .probes import METRICS
from .results import BASELINES, Results

_SHOWN = ("knn_accuracy", "linear", "prototype", "slide")
_PAIRED = ("knn_auc", "linear", "prototype", "slide")
_COLORS = {"DINO": OKABE_ITO["blue"], "SLPD": OKABE_ITO["vermillion"], "": "#555555"}


def plot(results: Results, methods: Sequence[Method], path: Path) -> None:
    """A row of axes for each level, a column for each score; writes ``path``."""
    levels = results.levels()
    names = [*BASELINES, *(method.name for method in methods)]
    rows = {level: [n for n in names if results.scores(level, n, "knn_accuracy")] for level in levels}
    heights = [len(rows[level]) for level in levels]
    figure = Figure(figsize=(11, 0.27 * sum(heights) + 0.9 * len(levels)), layout="constrained")
    axes = figure.subplots(len(levels), len(_SHOWN), squeeze=False, height_ratios=heights)
    for row, level in zip(axes, levels, strict=True):
        for axis, metric in zip(row, _SHOWN, strict=True):
            _draw(axis, results, level, rows[level], metric)
            axis.set_title(METRICS[metric], fontsize=9)
        row[0].set_yticks(range(len(rows[level])), rows[level], fontsize=8)
        row[0].set_ylabel(level, fontsize=10)
    figure.savefig(path, dpi=110)


def plot_pairs(results: Results, methods: Sequence[Method], path: Path) -> None:
    """Each SLPD beside the DINO that it was forked from, a line a seed: a row of axes a pair, a column a score."""
    forked = [method for method in methods if method.name.startswith("SLPD") and method.parent]
    pairs = [
        (level, method)
        for level in results.levels()
        for method in forked
        if results.difference(level, method.name, str(method.parent), "linear").n_seeds
    ]
    if not pairs:
        return
    figure = Figure(figsize=(2.6 * len(_PAIRED), 2.8 * len(pairs)), layout="constrained")
    axes = figure.subplots(len(pairs), len(_PAIRED), squeeze=False)
    for row, (level, method) in zip(axes, pairs, strict=True):
        for axis, metric in zip(row, _PAIRED, strict=True):
            _draw_pair(axis, results, level, method, metric)
        row[0].set_ylabel(f"{level}\n{method.name}", fontsize=9)
    figure.savefig(path, dpi=110)


def _draw_pair(axis: Axes, results: Results, level: str, method: Method, metric: str) -> None:
    names = str(method.parent), method.name
    before, after = (results.scores(level, name, metric) for name in names)
    for seed in sorted(before.keys() & after.keys()):
        axis.plot([0, 1], [before[seed], after[seed]], color="#888888", alpha=0.5, linewidth=1)
    for place, (name, scores) in enumerate((("DINO", before), ("SLPD", after))):
        axis.plot([place] * len(scores), list(scores.values()), ".", color=_COLORS[name], markersize=6)
    found = results.difference(level, method.name, str(method.parent), metric)
    axis.set_title(f"{METRICS[metric]}\n{found.mean:+.3f} ± {found.half:.3f}, {found.n_seeds} seeds", fontsize=9)
    axis.set_xticks([0, 1], ["DINO", "SLPD"])
    axis.set_xlim(-0.25, 1.25)
    axis.tick_params(labelsize=8)
    axis.grid(axis="y", alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)


def _draw(axis: Axes, results: Results, level: str, names: Sequence[str], metric: str) -> None:
    for place, name in enumerate(names):
        color = next(color for start, color in _COLORS.items() if name.startswith(start))
        values = list(results.scores(level, name, metric).values())
        summary = results.summary(level, name, metric)
        axis.plot(values, [place + 0.25] * len(values), ".", color=color, alpha=0.5, markersize=5, markeredgewidth=0)
        half = summary.half if summary.n_seeds > 1 else 0.0
        axis.errorbar(summary.mean, place, xerr=half, fmt="|", color=color, markersize=9, elinewidth=2)
    axis.set_yticks(range(len(names)), [""] * len(names))
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.set_xlim(-0.03, 1.03)
    axis.tick_params(axis="x", labelsize=8)
    axis.grid(axis="x", alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
