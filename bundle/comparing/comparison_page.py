"""A comparison as a page, and as tables for other programs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..pages import Cell, cell_of, csv_text, p_text, plain, render, write_page, write_results
from .plan import Plan
from .verdict import Row, Verdict

_SHOWN = {"balanced_accuracy": "balanced accuracy"}  # beside the main metric
_INTERVAL = ("value", "low", "high")


class Shown(NamedTuple):
    """A piece on the page: its name, minutes or "", its command."""

    name: str
    minutes: str
    command: str


class Told(NamedTuple):
    """What the page says besides the table.

    Attributes:
        who: a sentence on patients and slides.
        notes: sentences that a reader should know.
        plan: how the encoders were trained.
        training: a sentence on that.
        pieces: what was run.
    """

    who: str
    notes: list[str]
    plan: Plan
    training: str
    pieces: list[Shown]


def write_comparison(output_dir: Path, found: Verdict, told: Told) -> Path:
    """Write ``comparison.html``, ``.csv``, ``.md`` and ``.json``; readers see old ones or new ones, nothing between.

    Returns:
        Where the page is.

    Raises:
        BundleError: they cannot be written.
    """
    metrics = _shown_metrics(found)
    texts = {
        "comparison.csv": _table(found, metrics),
        "comparison.md": _markdown(found, told, metrics),
        "comparison.json": json.dumps(plain(_records(found, told)), indent=1, allow_nan=False) + "\n",
    }
    write_results(output_dir, texts)
    rows = [(row.name, row.rest, _cells_of(found, row, metrics), *_difference(found, row)) for row in found.rows]
    page = render(
        Path(__file__).parent,
        "comparison.html",
        title=f"Is {found.judged} worth it here?",
        told=told,
        verdict=found,
        metrics=list(metrics.values()),
        rows=rows,
    )
    return write_page(output_dir / "comparison.html", page)


def _shown_metrics(found: Verdict) -> dict[str, str]:
    """Metrics that every row has, the main one first, and their titles."""
    others = {name: title for name, title in _SHOWN.items() if all(name in row.summary for row in found.rows)}
    return {found.metric: found.title, **others}


def _cells_of(found: Verdict, row: Row, metrics: Mapping[str, str]) -> list[Cell]:
    return [cell_of(row.summary[name], digits=found.digits) for name in metrics]


def _difference(found: Verdict, row: Row) -> tuple[Cell | None, str]:
    if row.difference is None:
        return None, ""
    interval = row.difference.difference
    return cell_of(interval, signed=True, digits=found.digits), p_text(row.difference.p_value)


def _table(found: Verdict, metrics: Mapping[str, str]) -> str:
    """A row a method."""
    columns = ["encoder", "features", "protocol"]
    columns += [f"{name} {part}".removesuffix(" value") for name in metrics for part in _INTERVAL]
    columns += ["difference", "difference low", "difference high", "p"]
    return csv_text(columns, [[*row.method[:3], *_numbers(row, metrics)] for row in found.rows])


def _numbers(row: Row, metrics: Mapping[str, str]) -> list[Any]:
    values = [getattr(row.summary[name], part) for name in metrics for part in _INTERVAL]
    values += [math.nan] * 4 if row.difference is None else [*row.difference.difference[:3], row.difference.p_value]
    return ["" if math.isnan(value) else value for value in values]


def _records(found: Verdict, told: Told) -> dict[str, Any]:
    """Everything, with all digits."""
    rows = [
        {"encoder": row.method.encoder, "features": row.method.features, "protocol": row.method.protocol}
        | {"summary": row.summary, "difference": row.difference}
        for row in found.rows
    ]
    lines = [{"against": line.against, "text": line.text} for line in found.lines]
    return {"judged": found.judged, "metric": found.metric, "rows": rows, "lines": lines, "notes": told.notes,
            "plan": told.plan}  # fmt: skip


def _markdown(found: Verdict, told: Told, metrics: Mapping[str, str]) -> str:
    """The table, and the last lines last."""
    head = ["", *metrics.values(), f"{found.judged} minus it, {found.title}"]
    lines = [f"# Is {found.judged} worth it here?", "", told.who, "", told.training, ""]
    lines += [f"- {note}" for note in told.notes] + [""] * bool(told.notes)
    lines += [_cells(head), _cells(["---"] * len(head))]
    for row in found.rows:
        cells = [_words(cell) for cell in _cells_of(found, row, metrics)]
        difference, _ = _difference(found, row)
        lines.append(_cells([f"{row.name}, {row.rest}", *cells, _words(difference)]))
    return "\n".join([*lines, "", found.rule, "", *(f"{line.text}  " for line in found.lines)]).rstrip() + "\n"


def _words(cell: Cell | None) -> str:
    return "" if cell is None else f"{cell.text} {cell.bounds}".rstrip()


def _cells(words: Sequence[str]) -> str:
    return "| " + " | ".join(word.replace("|", "\\|") for word in words) + " |"
