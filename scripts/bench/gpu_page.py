"""What was measured on a GPU, as a page: a table a section, goals marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .report import table

Rows = Sequence[Mapping[str, Any]]
_NONE = "not measured"
BUSY_GOAL, WALL_GOAL, REFERENCE_GOAL, TOKENIZING_GOAL = 1.4, 1.3, 10.0, 0.8


def page(about: str, found: Mapping[str, Rows], n_regions: int) -> str:
    """Markdown.

    Args:
        about: card and size.
        found: rows by section, as ``scripts.bench.gpu`` keeps them.
        n_regions: of a step.
    """
    parts = [f"# One GPU\n\n{about}. Made by `scripts/benchmark gpu`.\n", _steps(found, n_regions), _tokenizing(found)]
    parts.append(
        _plain("What saves launches", found.get("savers", ()), ["without", "times as long", "kernels"], _saver)
    )
    parts.append(_plain("The loss beside plain torch, bfloat16", found.get("loss", ()), _LOSS, _of_loss))
    parts.append(_plain("Attention of a block, ms", found.get("attention", ()), ["way", "global", "local"], _ms))
    parts.append(_plain("LayerNorm and linear layer, ms", found.get("norm", ()), ["way", "all tokens"], _ms))
    return "\n".join(parts)


_STEP = ["step", "wall ms", "busy ms", "kernels", "busy / bound", "wall / busy", "times the reference", "reserved MiB"]
_LOSS = ["B", "outputs", "way", "ms", "against plain", "peak MiB"]


def _steps(found: Mapping[str, Rows], n_regions: int) -> str:
    rows = [*found.get("step", ()), *found.get("graph", ())]
    named = {row["name"]: row for row in rows if "failed" not in row}
    rates, bound = named.get("rates"), named.get("bound")
    references = [named[name]["wall"] for name in named if name.startswith("reference")]
    quickest = min(references) if references else None
    lines = [f"## A training step of {n_regions} regions, bfloat16\n"]
    if rates:
        speed = f"{rates['bf16'] / 1e12:.0f} TFLOP/s in bfloat16, {rates['fp32'] / 1e12:.0f} in float32"
        lines.append(f"The card reaches {speed}, and {rates['bandwidth'] / 1e9:,.0f} GB/s in a copy.")
    if bound:
        work = f"{bound['operations'] / 1e12:.2f} TFLOP, {bound['bytes'] / 1e9:.1f} GB"
        lines.append(
            f"The eager step's operations, each by its products or its bytes: {1e3 * bound['seconds']:.2f} ms ({work})."
        )
    own = [row for row in rows if row["name"] not in ("rates", "bound")]
    cells = [_step(row, bound["seconds"] if bound else None, quickest) for row in own]
    ratios = f"busy / bound <= {BUSY_GOAL}, wall / busy <= {WALL_GOAL}"
    goals = f"Goals: {ratios}, {REFERENCE_GOAL:.0f} times the quicker reference."
    return "\n".join([*lines, goals, "", table(_STEP, cells) if cells else f"{_NONE}\n"])


def _step(row: Mapping[str, Any], bound: float | None, reference: float | None) -> list[str]:
    if "failed" in row:
        return [row["name"], *[_NONE] * 6, row["failed"]]
    wall, busy = row["wall"], row["busy"]
    is_ours = not row["name"].startswith("reference")
    return [
        row["name"],
        f"{1e3 * wall:.2f}",
        _NONE if busy is None else f"{1e3 * busy:.2f}",
        _NONE if row["kernels"] is None else f"{row['kernels']:.0f}",
        _goal(busy and bound and busy / bound, BUSY_GOAL, is_ours),
        _goal(busy and wall / busy, WALL_GOAL, is_ours),
        _goal(reference and reference / wall, REFERENCE_GOAL, is_ours, least=True),
        f"{row['peak_mib']:,.0f}",
    ]


def _goal(value: float | None, goal: float, is_ours: bool = True, least: bool = False) -> str:
    if not value:
        return _NONE
    is_met = value >= goal if least else value <= goal
    return f"{value:.2f}{(': met' if is_met else ': missed') if is_ours else ''}"


def _tokenizing(found: Mapping[str, Rows]) -> str:
    cells = []
    for row in found.get("tokenizing", ()):
        if "failed" in row:
            cells.append([row["name"], _NONE, row["failed"], ""])
        else:
            share = row.get("share")
            waits = "" if share is None else f"{row['without_batch']:.1%}"
            cells.append(
                [row["name"], f"{row['rate']:,.0f}", _goal(share, TOKENIZING_GOAL, least=True) if share else "", waits]
            )
    head = ["ViT-S/16, 256 px", "patches a second", "share of the bare rate", "without a batch"]
    title = f"## Tokenizing\n\nGoal: {TOKENIZING_GOAL:.0%} of the bare rate.\n"
    return f"{title}\n{table(head, cells) if cells else _NONE + chr(10)}"


def _plain(title: str, rows: Rows, head: Sequence[str], cells: Any) -> str:
    made = [cells(row) if "failed" not in row else [row["name"], _NONE, row["failed"]] for row in rows]
    filled = [[*row, *[""] * (len(head) - len(row))][: max(len(head), len(row))] for row in made]
    return f"## {title}\n\n{table(head, filled) if filled else _NONE + chr(10)}"


def _saver(row: Mapping[str, Any]) -> list[str]:
    kernels = _NONE if row["kernels"] is None else f"{row['kernels']:.0f}"
    return [row["name"], f"{row['ratio']:.2f}", kernels]


def _ms(row: Mapping[str, Any]) -> list[str]:
    return [row["name"], *(f"{ms:.3f}" for ms in row["ms"])]


def _of_loss(row: Mapping[str, Any]) -> list[str]:
    peak = "" if row["peak_mib"] is None else f"{row['peak_mib']:,.0f}"
    ms = f"{1e3 * row['seconds']:.3g}"
    return [str(row["n_regions"]), f"{row['n_outputs']:,}", row["way"], ms, f"{row['ratio']:.2f}", peak]
