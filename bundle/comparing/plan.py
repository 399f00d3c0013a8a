"""How large the networks may be and how long they may train, from what a step takes on this machine."""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..core import BundleError, write_text
from .pieces import read_record

FROM_REGIONS = "from_regions"
_WARMUP_SHARE = 0.4  # of the epochs without prototypes: 8 of 20 on slides of tissue, 20 of 100 in the paper
_LR_WARMUP_SHARE = 0.1
_MARGIN = 1.25  # times what steps alone take: logs, clustering, other work of the machine
_START_AGAIN = (
    "How encoders in {} were to be trained is not known any more: remove that folder, or give another output_dir."
)
_EPOCH_S = 1.5  # of an epoch's pictures, tables and checkpoint, on a laptop


class Pace(NamedTuple):
    """Regions a second through a training step, and through the teacher before a clustering."""

    train: float
    recluster: float


class Plan(NamedTuple):
    """What all trainings of a comparison share.

    Attributes:
        size: name of the size.
        max_epochs: of each.
        prototype_warmup_epochs, lr_warmup_epochs: shares of them.
        n_regions: of the cohort.
        minutes: that all are expected to take.
    """

    size: str
    max_epochs: int
    prototype_warmup_epochs: int
    lr_warmup_epochs: int
    n_regions: int
    minutes: float


class Wish(NamedTuple):
    """What the user gives.

    Attributes:
        time_budget: minutes for all trainings together.
        min_epochs, max_epochs: the fewest that are worth a comparison; the most that are wanted.
        size: "auto", or the name of a size.
        n_methods: trainings.
    """

    time_budget: float
    min_epochs: int
    max_epochs: int
    size: str
    n_methods: int


def choose_plan(
    sizes: Mapping[str, Mapping[str, Any]], n_regions: int, wish: Wish, pace_of: Callable[[str], Pace]
) -> Plan:
    """The largest size that the time holds for ``max_epochs``, of those meant for so many regions; else the smallest.

    Args:
        sizes: by name, smallest first, ids of ``configs/train.yaml`` and ``from_regions``, the fewest it is meant for.
        n_regions: of the cohort.
        wish: time and epochs.
        pace_of: measures the pace of a size.

    Raises:
        BundleError: no such size; the time does not hold ``min_epochs`` at the smallest size.
    """
    able = [name for name, ids in sizes.items() if ids.get(FROM_REGIONS, 0) <= n_regions]
    if wish.size != "auto":
        if wish.size not in sizes:
            raise BundleError(f"size is {wish.size!r}; give auto, {', '.join(sizes)}.")
        able = [wish.size]
    if not able:
        raise BundleError(f"sizes has none for {n_regions} regions; give one a from_regions of 0.")
    name, pace = able[0], Pace(1.0, 1.0)
    for name in reversed(able):
        pace = pace_of(name)
        if _seconds(pace, n_regions, wish.max_epochs, wish.n_methods) <= 60 * wish.time_budget:
            break
    n_epochs = _epochs_within(pace, n_regions, wish)
    if n_epochs < wish.min_epochs:
        raise BundleError(_too_short(name, pace, n_regions, wish, n_epochs))
    seconds = _seconds(pace, n_regions, n_epochs, wish.n_methods)
    return Plan(name, n_epochs, _warmup(n_epochs), max(1, round(_LR_WARMUP_SHARE * n_epochs)), n_regions, seconds / 60)


def kept_plan(path: Path, asked: Mapping[str, Any], make: Callable[[], Plan]) -> Plan:
    """The plan of a file or, where there is none, one that is made and written there: times measured again differ.

    Args:
        path: of the file.
        asked: what the trainings depend on, as JSON holds it.
        make: a plan.

    Raises:
        BundleError: the file's plan was made for something else, or the file is damaged.
    """
    asked = json.loads(json.dumps(asked))
    if not path.is_file():
        plan = make()
        write_text(path, json.dumps({"asked": asked, "plan": plan._asdict()}, indent=1) + "\n")
        return plan
    kept = read_record(path, advice := _START_AGAIN.format(path.parent))
    if not {"asked", "plan"} <= set(kept) or set(kept["plan"]) != set(Plan._fields):
        raise BundleError(f"{path} is damaged (it holds no plan). {advice}")
    changed = sorted(name for name, value in asked.items() if kept["asked"].get(name) != value)
    if changed:
        raise BundleError(
            f"{path.parent} holds encoders that were trained with other {', '.join(changed)}: give these as they were, "
            "or another output_dir. What is evaluated (label, folds, slide vectors) may change."
        )
    return Plan(**kept["plan"])


def _epochs_within(pace: Pace, n_regions: int, wish: Wish) -> int:
    """The most epochs that the time holds, up to ``max_epochs``; 0: not one."""
    counts = range(1, wish.max_epochs + 1)
    return bisect_right(counts, 60 * wish.time_budget, key=lambda n: _seconds(pace, n_regions, n, wish.n_methods))


def _seconds(pace: Pace, n_regions: int, n_epochs: int, n_methods: int) -> float:
    """Of all trainings, each taken to cost what one with prototypes does."""
    passes = n_epochs / pace.train + (n_epochs - _warmup(n_epochs)) / pace.recluster
    return n_methods * (_MARGIN * n_regions * passes + _EPOCH_S * n_epochs)


def _warmup(n_epochs: int) -> int:
    return round(_WARMUP_SHARE * n_epochs)


def _too_short(name: str, pace: Pace, n_regions: int, wish: Wish, n_epochs: int) -> str:
    holds = f"{n_epochs} epochs" if n_epochs > 1 else "one epoch" if n_epochs else "not one epoch"
    needed = _seconds(pace, n_regions, wish.min_epochs, wish.n_methods) / 60
    step = 10 ** (math.floor(math.log10(needed)) - 1)
    least = math.ceil(needed / step) * step  # two digits, rounded up: what is named here does
    return (
        f"time_budget is {wish.time_budget:g} minutes, which holds {holds} of {wish.n_methods} trainings of size "
        f"{name} on {n_regions:,} regions; fewer than {wish.min_epochs} (min_epochs) tell nothing. Give at least "
        f"--time_budget {least:g}, fewer slides, or a GPU."
    )
