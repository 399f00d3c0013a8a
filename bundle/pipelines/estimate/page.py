"""An estimate as a plain table, and as JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from ...pages import plain
from .budget import Budget, Count, Rates
from .preflight import Look

_COLUMNS = ("bytes", "mpp", "reader", "regions", "patches", "problem", "remark")  # of slides in JSON


@dataclass(frozen=True)
class Estimate:
    """All that is shown.

    Attributes:
        looks: all slides.
        n_sampled: good slides whose tissue was looked for.
        regions, patches: of all good slides.
        rates: of this machine; None where nothing was probed.
        budget: bytes and hours; None likewise.
        machine: in words.
        max_epochs: of training.
        notes: what was extrapolated, and from what.
    """

    looks: Sequence[Look]
    n_sampled: int
    regions: Count
    patches: Count
    rates: Rates | None = None
    budget: Budget | None = None
    machine: str = ""
    max_epochs: int = 0
    notes: list[str] = field(default_factory=list)


def as_text(estimate: Estimate, max_slides: int = 20) -> str:
    """A table for the console; at most ``max_slides`` lines of bad slides, and of odd ones."""
    bad = [look for look in estimate.looks if look.problem]
    odd = [look for look in estimate.looks if look.remark and not look.problem]
    n, n_good = len(estimate.looks), len(estimate.looks) - len(bad)
    size = sum(look.bytes for look in estimate.looks)
    rows = [
        ("slides", f"{n:,} ({_bytes(size)}), {n_good:,} good, {len(bad):,} bad"),
        ("tissue looked for", f"{estimate.n_sampled:,} of {n_good + sum(look.area_mm2 > 0 for look in bad):,}"),
        ("regions", _count(estimate.regions)),
        ("tissue patches", _count(estimate.patches)),
    ]
    if estimate.rates is not None and estimate.budget is not None:
        rows += _cost(estimate, estimate.rates, estimate.budget)
    width = max(len(name) for name, _ in rows) + 2
    lines = [f"{name.ljust(width)}{value}".rstrip() for name, value in rows]
    for title, looks in (("bad slides", bad), ("odd slides", odd)):
        if looks:
            lines += ["", f"{title}:"]
            lines += [f"  {_place(look)}: {look.problem or look.remark}" for look in looks[:max_slides]]
        if len(looks) > max_slides:
            lines.append(f"  ... and {len(looks) - max_slides:,} more (--json has them all)")
    if estimate.notes:
        lines += ["", "how sure this is:", *(_wrapped(note) for note in estimate.notes)]
    return "\n".join(lines) + "\n"


def as_json(estimate: Estimate) -> dict[str, Any]:
    """The same as plain values; bytes, hours, units a second."""
    slides = [
        {"slide": look.ref.slide_id, "path": look.ref.relative, **{name: getattr(look, name) for name in _COLUMNS}}
        for look in estimate.looks
    ]
    own = {each.name: getattr(estimate, each.name) for each in fields(estimate) if each.name != "looks"}
    found: dict[str, Any] = plain({"slides": slides, **own})
    return found


def _cost(estimate: Estimate, rates: Rates, budget: Budget) -> list[tuple[str, str]]:
    return [
        ("", ""),
        ("this machine", estimate.machine),
        ("  reading", f"{_rate(rates.read)} patches/s"),
        ("  patch encoder", f"{_rate(rates.encode)} patches/s"),
        ("  training step", f"{_rate(rates.train)} regions/s"),
        ("  prototypes", f"{_rate(rates.recluster)} regions/s"),
        ("  inference", f"{_rate(rates.embed)} regions/s"),
        ("", ""),
        ("disk", _bytes(budget.tokens + budget.embeddings + budget.checkpoints)),
        ("  token files", _bytes(budget.tokens)),
        ("  embeddings", f"at most {_bytes(budget.embeddings)}"),
        ("  checkpoints", f"at most {_bytes(budget.checkpoints)}"),
        ("", ""),
        ("time", _time(budget.stage_one + budget.tokenizing + budget.training + budget.embedding)),
        *([("  patch encoder (stage one)", _time(budget.stage_one))] if budget.stage_one else []),
        ("  slides to tokens", _time(budget.tokenizing)),
        ("  training", f"{_time(budget.training)} ({estimate.max_epochs} epochs of {_time(budget.epoch)})"),
        ("  inference", _time(budget.embedding)),
    ]


def _count(count: Count) -> str:
    value = f"{count.value:,.0f}"
    return value if count.low == count.high else f"about {value} (95 %: {count.low:,.0f} to {count.high:,.0f})"


def _wrapped(note: str) -> str:
    return textwrap.fill(note, 100, initial_indent="  - ", subsequent_indent="    ")


def _place(look: Look) -> str:
    """Where the file lies below the folder; of a DICOM series the folder."""
    relative, path = look.ref.relative, look.ref.path
    return relative + path.suffix if relative.endswith(path.stem) else relative


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"


def _bytes(n: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if n >= size:
            return f"{n / size:.3g} {unit}"
    return f"{n / 1e3:.3g} kB"


def _time(hours: float) -> str:
    if hours >= 48:
        return f"{hours / 24:.3g} days"
    if hours >= 1:
        return f"{hours:.3g} h"
    return f"{hours * 60:.3g} min" if hours >= 1 / 60 else f"{hours * 3600:.2g} s"
