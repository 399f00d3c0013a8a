"""How far encoders go by class, and not by site or slide: rows of a table, and the robustness index as a curve."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ...pages import Cell, cell_of
from ..findings import Evaluation, Robustness
from .evaluation_figures import BARS, COLORS, Key, Panel, new_axes, to_svg
from .evaluation_rows import readable

_MEANINGS = {
    "robustness_index": (
        "robustness index",
        "of the nearest patients, those of the same class at another site, as a share of these and of those of another "
        "class at the same site (PathoROB's); 1: neighbors go by class, 0: by site",
    ),
    "slide_identity": (
        "slide identity",
        "share of regions whose slide a linear classifier tells, having seen every second region of each; high: "
        "regions go by slide",
    ),
    "site_identity": (
        "site identity",
        "share of regions whose site a linear classifier tells, having seen every second patient of each, of the "
        "others; high: regions go by site",
    ),
}


class RobustnessRow(NamedTuple):
    """A metric of an encoder; ``meaning`` is its title and what it says."""

    encoder: str
    features: str
    metric: str
    cell: Cell
    chance: str
    meaning: tuple[str, str]


def robustness_rows(evaluation: Evaluation) -> list[RobustnessRow]:
    """A row an encoder and metric, metric after metric."""
    return [
        _row(item, meaning)
        for metric, meaning in _MEANINGS.items()
        for item in evaluation.robustness
        if item.metric == metric
    ]


def _row(item: Robustness, meaning: tuple[str, str]) -> RobustnessRow:
    title = f"{meaning[0]}, k = {item.k}" if item.k else meaning[0]
    chance = f"{item.chance:.3f}" if math.isfinite(item.chance) else "–"
    return RobustnessRow(
        readable(item.encoder), readable(item.features), title, cell_of(item.interval), chance, meaning
    )


def robustness_panels(evaluation: Evaluation) -> list[Panel]:
    """The robustness index of each encoder over the number of neighbors, with its interval; nothing without one."""
    indices = [item for item in evaluation.robustness if item.curve]
    panels = []
    for start in range(0, len(indices), len(COLORS)):
        figure, axes = new_axes("neighbors, k", "robustness index")
        keys: list[Key] = []
        for color, item in zip(COLORS, indices[start:], strict=False):
            ks = np.array(list(item.curve)) * 1.03 ** len(keys)  # beside one another, so that no bar hides another
            value, low, high = np.array([v[:3] for v in item.curve.values()]).T
            bars = np.maximum((value - low, high - value), 0)
            axes.errorbar(ks, value, bars, color=color, linewidth=1.6, marker="o", markersize=3.5, **BARS)
            keys.append(Key(f"{readable(item.encoder)}, {readable(item.features)}", color, "solid"))
        if math.isfinite(indices[0].chance):
            axes.axhline(indices[0].chance, color="0.5", linewidth=1, linestyle=":")
            keys.append(Key("at random", "#808080", "dotted"))
        axes.set_xscale("log")
        ticks = [k for k in (1, 2, 5, 10, 20, 50) if k <= max(indices[0].curve)]
        axes.set_xticks(ticks, [str(k) for k in ticks])
        axes.minorticks_off()
        axes.set_ylim(-0.02, 1.02)
        alt = "Robustness index by number of neighbors: " + "; ".join(key.label for key in keys)
        panels.append(Panel("Robustness index", to_svg(figure), alt, keys))
    return panels
