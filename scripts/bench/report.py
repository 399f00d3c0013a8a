"""Measurements to tables, pictures and files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from bundle.pages import OKABE_ITO

_COLORS = {
    "reference": "#777777",
    "peer": OKABE_ITO["sky"],
    "ours": OKABE_ITO["vermillion"],
    "limit": OKABE_ITO["green"],
}


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown: a line a row, ended by a new line."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows)) + "\n"


def keep(folder: Path, name: str, found: Any, text: str) -> None:
    """Write ``<name>.md`` and, below ``raw``, the numbers behind it; say the text on the console."""
    (folder / "raw").mkdir(parents=True, exist_ok=True)
    (folder / "raw" / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
    (folder / f"{name}.md").write_text(text)
    print(text)


def failure(error: Exception) -> str:
    """Its kind and its first line, for a table."""
    return f"{type(error).__name__}: {next(iter(str(error).strip().splitlines()), '')}"[:160].replace("|", "/")


def markdown(results: Sequence[dict[str, Any]]) -> str:
    """Tables of all cases, one below the other.

    Args:
        results: as ``scripts.bench`` stores them: ``group``, ``title``, ``work``, ``unit``, ``goal``, ``note`` and
            ``timings``, a list of dictionaries with the fields of :class:`~scripts.bench.measure.Timing`.
    """
    parts = []
    for result in results:
        rate = f"{result['unit']}/s" if result["unit"] else "ms"
        header = ["way", rate, "against the reference", "quartiles", "before", "goal", "peak MiB"]
        rows = [_row(timing, result) for timing in result["timings"]]
        note = f"\n{result['note']}\n" if result["note"] else ""
        parts.append(f"### {result['title']}\n\n{table(header, rows)}{note}")
    return "\n".join(parts)


def _row(timing: dict[str, Any], result: dict[str, Any]) -> list[str]:
    seconds, name = timing["seconds"], timing["name"]
    speed = f"{result['work'] / seconds:,.4g}" if result["unit"] else f"{1e3 * seconds:,.4g}"
    goal = result["goal"].get(name)
    reached = "" if goal is None else f">= {goal:g}: {'met' if timing['ratio'] >= goal else 'missed'}"
    peak = "" if timing["peak_mib"] is None else f"{timing['peak_mib']:,.0f}"
    if timing["role"] in ("ours", "reference"):
        name = f"**{name}**"
    quartiles = f"{timing['low']:.2f} to {timing['high']:.2f}"
    before = f"{timing['before']:.2f}" if timing.get("before") else ""
    return [name, speed.replace("e+0", "e"), f"{timing['ratio']:.2f}", quartiles, before, reached, peak]


def picture(results: Sequence[dict[str, Any]], title: str) -> Figure:
    """Bars of how many times faster than the reference each way is, with quartiles and goals, on a logarithmic axis."""
    rows = [(result, timing) for result in results for timing in result["timings"]]
    figure = Figure(figsize=(9, 1.2 + 0.24 * (len(rows) + len(results))), layout="constrained")
    axes = figure.subplots()
    place, ticks, names = 0.0, [], []
    for result in results:
        axes.text(
            0.01, place, result["title"], transform=axes.get_yaxis_transform(), va="center", weight="bold", size=8
        )
        place += 1
        for timing in result["timings"]:
            ratio, color = timing["ratio"], _COLORS[timing["role"]]
            error = [[max(ratio - timing["low"], 0)], [max(timing["high"] - ratio, 0)]]
            axes.barh(place, ratio, color=color, xerr=error, ecolor="#333333", error_kw={"linewidth": 0.8})
            if timing["name"] in result["goal"]:
                axes.plot(
                    [result["goal"][timing["name"]]] * 2, [place - 0.45, place + 0.45], color="black", linewidth=1.5
                )
            ticks.append(place)
            names.append(timing["name"])
            place += 1
    axes.set_yticks(ticks, names, size=7)
    axes.set_ylim(place - 0.4, -0.8)
    axes.set_xscale("log")
    axes.axvline(1.0, color="#777777", linewidth=0.8)
    axes.set_xlabel("times as fast as the reference (median and quartiles of rounds; black: goal)")
    axes.set_title(title, size=10)
    axes.spines[["top", "right"]].set_visible(False)
    return figure
